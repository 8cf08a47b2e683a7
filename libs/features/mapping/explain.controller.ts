import { Controller, HttpCode, Param, Post } from '@nestjs/common';
import type { FastifyReply } from 'fastify';

import { Scopes } from '#platform/http/access.decorators.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { JsonBody } from '#platform/http/json-body.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer } from '#platform/http/request-context.js';
import type { Json } from '#platform/kernel/json.js';

import { explanationAnswer, explanationSchema } from './explain-answers.js';
import { ReadExplanation } from './read-explanation.js';
import { ExplainInput, parseExplain } from './request-input.js';

/** /v1/gateways/{gateway}/explain: what becomes of a request, and why. */
@Controller('v1/gateways/:gateway/explain')
export class ExplainController {
  constructor(private readonly queries: QueryRunner) {}

  @Post()
  @HttpCode(200)
  @Scopes('read')
  @Describe({
    tag: 'Mappings',
    summary: 'Explain which mapping gets a request, and why the others do not',
    details: 'Nothing is sent anywhere. The status and the endpoints are those of this moment, also with `version`.',
    body: ExplainInput,
    answers: { 200: explanationSchema },
  })
  async explain(@Param('gateway') gateway: string, @JsonBody() body: Json, @Answer() reply: FastifyReply): Promise<object> {
    const { request, version } = parseExplain(body);
    const explanation = await this.queries.run(new ReadExplanation(gateway, request, version));
    reply.header('Chancery-Version', String(explanation.version));
    return explanationAnswer(explanation);
  }
}

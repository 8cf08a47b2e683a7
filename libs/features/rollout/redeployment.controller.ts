import { randomUUID } from 'node:crypto';

import { Controller, Get, Param, Post } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

import { ReadGateway } from '#features/gateway/list-gateways.js';
import { Scopes } from '#platform/http/access.decorators.js';
import { dryRunSchema, pageSchema } from '#platform/http/answer-schemas.js';
import { CommandRunner } from '#platform/http/command-runner.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { OptionalJsonBody } from '#platform/http/json-body.js';
import { answerPage, decodeCursor, type Page, pageParameters, toPage } from '#platform/http/page.js';
import { QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer, Asked } from '#platform/http/request-context.js';
import { dryRunAnswer } from '#platform/http/write-answer.js';
import { Write, type WriteRequest } from '#platform/http/write-request.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';

import { ListRedeployments, ReadRedeployment, type RedeploymentView } from './list-deployments.js';
import { parseRedeployment, RedeploymentInputSchema } from './redeployment-input.js';
import { RequestRedeployment } from './request-redeployment.js';
import { redeploymentSchema } from './rollout-answers.js';

const listParameters = z.strictObject(pageParameters);
const tag = 'Rollout';

/** /v1/gateways/{gateway}/redeployments: asks to push the current version again. */
@Controller('v1/gateways/:gateway/redeployments')
export class RedeploymentController {
  constructor(
    private readonly commands: CommandRunner,
    private readonly queries: QueryRunner,
  ) {}

  @Get()
  @Scopes('read')
  @Describe({
    tag,
    summary: 'List the redeployments that were asked for',
    query: listParameters,
    answers: { 200: pageSchema(redeploymentSchema) },
  })
  async list(
    @Param('gateway') gateway: string,
    @QueryBy(listParameters) query: z.infer<typeof listParameters>,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<Page<RedeploymentView>> {
    await this.queries.run(new ReadGateway(gateway));
    const after = query.cursor === undefined ? undefined : decodeCursor('redeployments', 'string', query.cursor);
    const rows = await this.queries.run(new ListRedeployments({ gateway, after, limit: query.limit + 1 }));
    return answerPage(
      asked,
      reply,
      toPage(rows, query.limit, 'redeployments', (one) => one.id),
    );
  }

  @Post()
  @Scopes('deploy')
  @Describe({
    tag,
    summary: 'Push the current version again',
    write: true,
    body: RedeploymentInputSchema,
    answers: { 200: dryRunSchema, 202: redeploymentSchema },
  })
  async request(
    @Param('gateway') gateway: string,
    @OptionalJsonBody() body: Json,
    @Write() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    await this.queries.run(new ReadGateway(gateway));
    const command = new RequestRedeployment(
      gateway,
      { id: randomUUID(), ...parseRedeployment(body) },
      { context: write.context, dryRun: write.dryRun },
    );
    const outcome = await this.commands.run(command, write.context);
    if (outcome.dryRun) return dryRunAnswer(reply, outcome);
    const event = outcome.events[0];
    const id = event?.subject.slice('redeployment/'.length) ?? command.input.id; // A repeated request gets the first one's.
    reply.status(202).header('Location', `/v1/gateways/${gateway}/redeployments/${id}`);
    if (outcome.replayed) reply.header('Idempotency-Replayed', 'true');
    return { ...event?.state, id, requestedAt: outcome.recordedAt };
  }

  @Get(':redeployment')
  @Scopes('read')
  @Describe({ tag, summary: 'Read a redeployment', answers: { 200: redeploymentSchema } })
  async read(@Param('gateway') gateway: string, @Param('redeployment') id: string): Promise<RedeploymentView> {
    const found = await this.queries.run(new ReadRedeployment(gateway, id));
    if (found === undefined) throw new DomainError('not_found', 'redeployment_not_found', 'No redeployment of this id was asked for here.');
    return found;
  }
}

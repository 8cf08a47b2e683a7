import { Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
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

import { ConfirmVersion } from './confirm-version.js';
import { confirmationSubject } from './confirmation.js';
import type { ConfirmationView } from './confirmation.table.js';
import { ListConfirmations } from './list-confirmations.js';
import { confirmationSchema, confirmedSchema } from './restore-answers.js';
import { ConfirmBody, parseConfirm } from './restore-input.js';

const listParameters = z.strictObject({
  ...pageParameters,
  state: z.enum(['open', 'confirmed', 'reverted', 'conflicted']).optional().describe('Only those that stand so.'),
});

const tag = 'History';

/** /v1/gateways/{gateway}/confirmations, and versions/{version}/confirm: versions that are undone unless somebody keeps them. */
@Controller('v1/gateways/:gateway')
export class ConfirmationController {
  constructor(
    private readonly commands: CommandRunner,
    private readonly queries: QueryRunner,
  ) {}

  @Get('confirmations')
  @Scopes('read')
  @Describe({
    tag,
    summary: 'List the versions that asked to be confirmed, newest first',
    query: listParameters,
    answers: { 200: pageSchema(confirmationSchema) },
  })
  async list(
    @Param('gateway') gateway: string,
    @QueryBy(listParameters) query: z.infer<typeof listParameters>,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<Page<ConfirmationView>> {
    const { cursor, limit, state } = query;
    await this.queries.run(new ReadGateway(gateway));
    const before = cursor === undefined ? undefined : decodeCursor('confirmations', 'number', cursor);
    const rows = await this.queries.run(new ListConfirmations({ gateway, before, state, limit: limit + 1 }));
    return answerPage(
      asked,
      reply,
      toPage(rows, limit, 'confirmations', (one) => one.version),
    );
  }

  @Post('versions/:version/confirm')
  @Scopes('write')
  @HttpCode(200)
  @Describe({
    tag,
    summary: 'Confirm a version, so that it stays',
    write: true,
    body: ConfirmBody,
    bodyOptional: true,
    answers: { 200: z.union([confirmedSchema, dryRunSchema]) },
  })
  async confirm(
    @Param('gateway') gateway: string,
    @Param('version') number: string,
    @OptionalJsonBody() body: Json,
    @Write() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    const { reason } = parseConfirm(body);
    await this.queries.run(new ReadGateway(gateway));
    const version = versionNumber(number);
    const context = { ...write.context, reason: reason ?? write.context.reason ?? null };
    const outcome = await this.commands.run(new ConfirmVersion(gateway, version, { context, dryRun: write.dryRun }), context);
    if (outcome.dryRun) return dryRunAnswer(reply, outcome);
    if (outcome.replayed) reply.header('Idempotency-Replayed', 'true');
    const earlier = outcome.unchanged ? outcome.before.get(confirmationSubject(version)) : undefined;
    const state = outcome.events[0]?.state ?? earlier?.state;
    return { version, state: 'confirmed', confirmedBy: state?.confirmedBy, confirmedAt: earlier?.recordedAt ?? outcome.recordedAt };
  }
}

function versionNumber(text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new DomainError('not_found', 'confirmation_not_found', 'A version has a number; GET confirmations lists those that wait.');
}

import { Controller, Delete, Get, Param, Post } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

import { ReadGateway } from '#features/gateway/list-gateways.js';
import { Scopes } from '#platform/http/access.decorators.js';
import { dryRunSchema, pageSchema } from '#platform/http/answer-schemas.js';
import { CommandRunner } from '#platform/http/command-runner.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { JsonBody } from '#platform/http/json-body.js';
import { answerPage, decodeCursor, type Page, pageParameters, toPage } from '#platform/http/page.js';
import { QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer, Asked } from '#platform/http/request-context.js';
import { dryRunAnswer } from '#platform/http/write-answer.js';
import { Write, type WriteRequest } from '#platform/http/write-request.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';

import { LiftQuarantine } from './lift-quarantine.js';
import { ListQuarantines, type QuarantineView, ReadQuarantine } from './list-quarantines.js';
import type { Quarantine } from './quarantine.js';
import { QuarantineState } from './quarantine-state.js';
import { liftedSchema, quarantineSchema } from './restore-answers.js';
import { parseQuarantine, QuarantineBody } from './restore-input.js';

const listParameters = z.strictObject(pageParameters);
const tag = 'History';

/** /v1/gateways/{gateway}/quarantines: states that must not come back. */
@Controller('v1/gateways/:gateway/quarantines')
export class QuarantineController {
  constructor(
    private readonly commands: CommandRunner,
    private readonly queries: QueryRunner,
  ) {}

  @Get()
  @Scopes('read')
  @Describe({ tag, summary: 'List the quarantines by id', query: listParameters, answers: { 200: pageSchema(quarantineSchema) } })
  async list(
    @Param('gateway') gateway: string,
    @QueryBy(listParameters) query: z.infer<typeof listParameters>,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<Page<QuarantineView>> {
    await this.queries.run(new ReadGateway(gateway));
    const after = query.cursor === undefined ? undefined : decodeCursor('quarantines', 'string', query.cursor);
    const rows = await this.queries.run(new ListQuarantines({ gateway, after, limit: query.limit + 1 }));
    return answerPage(
      asked,
      reply,
      toPage(rows, query.limit, 'quarantines', (one) => one.id),
    );
  }

  @Post()
  @Scopes('write')
  @Describe({
    tag,
    summary: 'Put a state of a subject under quarantine',
    details:
      'Rollbacks, reverts, changesets and imports that would bring it back are refused (409 `state_quarantined`) unless they say `overrideQuarantine`.',
    write: true,
    body: QuarantineBody,
    answers: { 200: z.union([quarantineSchema, dryRunSchema]), 201: quarantineSchema },
  })
  async quarantine(
    @Param('gateway') gateway: string,
    @JsonBody() body: Json,
    @Write() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    const input = parseQuarantine(body);
    await this.queries.run(new ReadGateway(gateway));
    const command = new QuarantineState(gateway, input, { context: write.context, dryRun: write.dryRun });
    const outcome = await this.commands.run(command, write.context);
    if (outcome.dryRun) return dryRunAnswer(reply, outcome);
    if (outcome.replayed) reply.header('Idempotency-Replayed', 'true');
    const earlier = outcome.unchanged ? [...outcome.before.values()][0] : undefined;
    const state = (outcome.events[0]?.state ?? earlier?.state) as Quarantine;
    const location = `/v1/gateways/${gateway}/quarantines/${state.id}`;
    reply.status(outcome.unchanged ? 200 : 201).header('Location', location);
    return { ...state, quarantinedAt: earlier?.recordedAt ?? outcome.recordedAt };
  }

  @Get(':quarantine')
  @Scopes('read')
  @Describe({ tag, summary: 'Read a quarantine', answers: { 200: quarantineSchema } })
  async read(@Param('gateway') gateway: string, @Param('quarantine') id: string): Promise<QuarantineView> {
    const found = await this.queries.run(new ReadQuarantine(gateway, id));
    if (found === undefined) throw new DomainError('not_found', 'quarantine_not_found', 'There is no quarantine of this id.');
    return found;
  }

  @Delete(':quarantine')
  @Scopes('write')
  @Describe({ tag, summary: 'Lift a quarantine', write: true, answers: { 200: z.union([liftedSchema, dryRunSchema]) } })
  async lift(
    @Param('gateway') gateway: string,
    @Param('quarantine') id: string,
    @Write() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    const outcome = await this.commands.run(
      new LiftQuarantine(gateway, id, { context: write.context, dryRun: write.dryRun }),
      write.context,
    );
    if (outcome.dryRun) return dryRunAnswer(reply, outcome);
    if (outcome.replayed) reply.header('Idempotency-Replayed', 'true');
    return { id, lifted: true };
  }
}

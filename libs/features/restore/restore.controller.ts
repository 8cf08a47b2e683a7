import { Controller, Param, Post } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

import { FindSetWarnings } from '#features/mapping/find-set-warnings.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import type { Outcome } from '#platform/eventstore/event-store.js';
import { Scopes } from '#platform/http/access.decorators.js';
import { dryRunSchema } from '#platform/http/answer-schemas.js';
import { CommandRunner } from '#platform/http/command-runner.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { streamTag } from '#platform/http/entity-tag.js';
import { JsonBody } from '#platform/http/json-body.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer, Asked, requireCaller } from '#platform/http/request-context.js';
import { changesOf, dryRunAnswer, testedRoutes } from '#platform/http/write-answer.js';
import { ConfigurationWrite, type WriteRequest } from '#platform/http/write-request.js';
import type { Json } from '#platform/kernel/json.js';

import { revertSchema, rollbackPlanSchema, rollbackSchema } from './restore-answers.js';
import { type GoingBack, parseRevert, parseRollback, RevertBody, RollbackBody } from './restore-input.js';
import { RevertVersion } from './revert-version.js';
import { RollBack } from './roll-back.js';

const tag = 'History';

/** /v1/gateways/{gateway}/rollbacks and reverts: going back, always as a new version. */
@Controller('v1/gateways/:gateway')
@Scopes('write')
export class RestoreController {
  constructor(
    private readonly commands: CommandRunner,
    private readonly queries: QueryRunner,
  ) {}

  @Post('rollbacks')
  @Describe({
    tag,
    summary: 'Restore the whole configuration as it was at a version',
    details:
      'If-Match is required, unless it is a dry run. Settings that differ are restored too; that needs the scope `admin`. Certificates stay as they are now, unless `includeCertificates` is said; that needs the scope `certificates`.',
    write: 'configuration',
    body: RollbackBody,
    answers: { 200: z.union([rollbackSchema, rollbackPlanSchema]), 201: rollbackSchema },
  })
  async rollBack(
    @Param('gateway') gateway: string,
    @JsonBody() body: Json,
    @ConfigurationWrite() write: WriteRequest,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    const { version: toVersion, overrideQuarantine, includeCertificates, ...asSaid } = parseRollback(body);
    const request = withSaid(this.commands.requestForStream(write, { required: true }), asSaid);
    const command = new RollBack(gateway, { toVersion, overrideQuarantine, includeCertificates, ...rightsOf(asked) }, request);
    const { outcome, restoredDigest } = await this.commands.execute(command, write.context, (result) => result.outcome);
    const { digest, exceptions } = outcome.details ?? {};
    const about = { toVersion, digest, ...(exceptions === undefined ? {} : { exceptions }) };
    if (outcome.dryRun) return { ...(await this.plan(gateway, reply, outcome)), ...about };
    return { ...answered(reply, gateway, outcome), ...about, restoredDigest, equal: digest === restoredDigest };
  }

  @Post('reverts')
  @Describe({
    tag,
    summary: 'Undo one version, and nothing that came after it',
    details:
      'Refused as a whole (409 `revert_conflict`, with `conflicts`) where a later version has made something else of what it did. Settings need the scope `admin`.',
    write: 'configuration',
    body: RevertBody,
    answers: { 200: z.union([revertSchema, dryRunSchema]), 201: revertSchema },
  })
  async revert(
    @Param('gateway') gateway: string,
    @JsonBody() body: Json,
    @ConfigurationWrite() write: WriteRequest,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    const { version, overrideQuarantine, ...asSaid } = parseRevert(body);
    const request = withSaid(this.commands.requestForStream(write), asSaid);
    const command = new RevertVersion(gateway, { version, overrideQuarantine, ...rightsOf(asked) }, request);
    const outcome = await this.commands.run(command, write.context);
    if (outcome.dryRun) return this.plan(gateway, reply, outcome);
    return { ...answered(reply, gateway, outcome), reverted: version };
  }

  /** The answer to a dry run; its warnings point into its own changes. */
  private async plan(gateway: string, reply: FastifyReply, outcome: Outcome): Promise<object> {
    const places = new Map(outcome.events.map(({ subject }, i) => [subject, `/changes/${i}/after`]));
    const warnings = outcome.unchanged ? [] : await this.queries.run(FindSetWarnings.of(gateway, outcome, places));
    return dryRunAnswer(reply, outcome, warnings);
  }
}

function rightsOf(asked: FastifyRequest): { mayConfigure: boolean; mayCertify: boolean } {
  const { scopes } = requireCaller(asked);
  return { mayConfigure: scopes.includes('admin'), mayCertify: scopes.includes('certificates') };
}

/** What the body says counts before what the query and the headers say. */
function withSaid(request: CommandRequest, { reason, confirmWithinMs }: Pick<GoingBack, 'reason' | 'confirmWithinMs'>): CommandRequest {
  const { context } = request;
  return { ...request, context: { ...context, reason, confirmWithinMs: confirmWithinMs ?? context.confirmWithinMs ?? null } };
}

/** 201 with the version that was made, or 200 when there was nothing to do. */
function answered(reply: FastifyReply, gateway: string, outcome: Outcome): object {
  const { version, unchanged } = outcome;
  reply.header('ETag', streamTag(version)).header('Chancery-Version', String(version));
  if (outcome.replayed) reply.header('Idempotency-Replayed', 'true');
  reply.status(unchanged ? 200 : 201);
  if (!unchanged) reply.header('Location', `/v1/gateways/${gateway}/versions/${version}`);
  return { version, unchanged, changes: changesOf(outcome), ...testedRoutes(outcome) };
}

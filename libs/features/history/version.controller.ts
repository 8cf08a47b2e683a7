import { Controller, Get, Param } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

import type { VersionRecord } from '#platform/eventstore/read-log.js';
import { Scopes } from '#platform/http/access.decorators.js';
import { pageSchema } from '#platform/http/answer-schemas.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { entityTag, tagged } from '#platform/http/entity-tag.js';
import { answerPage, decodeCursor, type Page, pageParameters, toPage } from '#platform/http/page.js';
import { flagParameter, QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner, WHOLE_READ_MS } from '#platform/http/query-runner.js';
import { Answer, Asked } from '#platform/http/request-context.js';
import { sinceParameter, untilParameter } from '#platform/http/time-parameter.js';
import { DomainError } from '#platform/kernel/errors.js';

import { ListVersions, ReadVersion, type VersionView } from './list-versions.js';
import { ReadDifference, type VersionDifference } from './read-difference.js';
import { versionDifferenceSchema, versionSchema, versionWithEventsSchema } from './version-answers.js';
import { parseVersion } from './version-number.js';

const listParameters = z.strictObject({
  ...pageParameters,
  actor: z.string().max(200).optional().describe('Exactly this actor, for instance token/0123456789abcdef.'),
  action: z.string().max(100).optional().describe('Exactly this action, for instance CreateMapping.'),
  subject: z.string().max(300).optional().describe('Versions that touch this subject, for instance mapping/user.'),
  since: sinceParameter.optional().describe('Recorded at this time or later: 2026-11-25T08:00:00Z, or a date (UTC).'),
  until: untilParameter.optional().describe('Recorded at this time or before, to the millisecond; a date means the whole day (UTC).'),
});

const differenceParameters = z.strictObject({
  against: z
    .string()
    .regex(/^\d{1,15}$/, { error: 'must be the number of a version' })
    .transform(Number)
    .optional()
    .describe('The version to start from: by default the one before; 0 is the empty configuration before the first.'),
  rendered: flagParameter.describe("true: also what changes in Envoy's configuration."),
});

const tag = 'History';

/** /v1/gateways/{gateway}/versions: what was done, by whom, and why. */
@Controller('v1/gateways/:gateway/versions')
@Scopes('read')
export class VersionController {
  constructor(private readonly queries: QueryRunner) {}

  @Get()
  @Describe({ tag, summary: 'List versions, newest first', query: listParameters, answers: { 200: pageSchema(versionSchema) } })
  async list(
    @Param('gateway') gateway: string,
    @QueryBy(listParameters) query: z.infer<typeof listParameters>,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<Page<VersionRecord>> {
    const { cursor, limit, ...rest } = query;
    const before = cursor === undefined ? undefined : decodeCursor('versions', 'number', cursor);
    const rows = await this.queries.run(new ListVersions({ gateway, before, limit: limit + 1, ...rest }));
    return answerPage(
      asked,
      reply,
      toPage(rows, limit, 'versions', (record) => record.version),
    );
  }

  @Get(':version')
  @Describe({
    tag,
    summary: 'Read a version: its events, each with the state before and after',
    answers: { 200: versionWithEventsSchema, 304: 'Unchanged.' },
  })
  async read(
    @Param('gateway') gateway: string,
    @Param('version') number: string,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<VersionView | undefined> {
    const found = await this.queries.run(new ReadVersion(gateway, parseVersion(number) ?? 0), WHOLE_READ_MS);
    if (found === undefined) throw new DomainError('not_found', 'version_not_found', 'This gateway has no version of this number.');
    return tagged(asked, reply, entityTag(found.version, found.confirmation?.state), found);
  }

  @Get(':version/diff')
  @Describe({
    tag,
    summary: 'Compare two versions: which subjects were added, removed, changed, and in which members',
    details:
      "The answer leads from `against` to this version, whichever is newer. With `rendered=true` also what changes in Envoy's configuration, compiled for this comparison only: without endpoints, a node's own listeners, or what is set aside. 422 `render_too_large` where that would take too long.",
    query: differenceParameters,
    answers: { 200: versionDifferenceSchema },
  })
  compare(
    @Param('gateway') gateway: string,
    @Param('version') number: string,
    @QueryBy(differenceParameters) { against, rendered }: z.infer<typeof differenceParameters>,
  ): Promise<VersionDifference> {
    const versions = { from: against, to: parseVersion(number) };
    return this.queries.run(new ReadDifference(gateway, versions, rendered ?? false), WHOLE_READ_MS);
  }
}

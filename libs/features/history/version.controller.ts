import { Controller, Get, Param } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

import type { VersionRecord } from '#platform/eventstore/read-log.js';
import { Scopes } from '#platform/http/access.decorators.js';
import { pageSchema } from '#platform/http/answer-schemas.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { entityTag, tagged } from '#platform/http/entity-tag.js';
import { answerPage, decodeCursor, type Page, pageParameters, toPage } from '#platform/http/page.js';
import { QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer, Asked } from '#platform/http/request-context.js';
import { DomainError } from '#platform/kernel/errors.js';

import { ListVersions, ReadVersion, type VersionView } from './list-versions.js';
import { versionSchema, versionWithEventsSchema } from './version-answers.js';

const listParameters = z.strictObject({
  ...pageParameters,
  actor: z.string().max(200).optional().describe('Exactly this actor, for instance token/0123456789abcdef.'),
  action: z.string().max(100).optional().describe('Exactly this action, for instance CreateMapping.'),
  subject: z.string().max(300).optional().describe('Versions that touch this subject, for instance mapping/user.'),
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
    const found = /^[1-9]\d{0,14}$/.test(number) ? await this.queries.run(new ReadVersion(gateway, Number(number))) : undefined;
    if (found === undefined) throw new DomainError('not_found', 'version_not_found', 'This gateway has no version of this number.');
    return tagged(asked, reply, entityTag(found.version), found);
  }
}

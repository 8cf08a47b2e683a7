import { Controller, Get, Param } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

import { Scopes } from '#platform/http/access.decorators.js';
import { pageSchema } from '#platform/http/answer-schemas.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { answerPage, decodeCursor, type Page, pageParameters, toPage } from '#platform/http/page.js';
import { QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer, Asked } from '#platform/http/request-context.js';
import { DomainError } from '#platform/kernel/errors.js';

import { ListSubjectHistory, type SubjectHistoryItem } from './list-subject-history.js';
import { subjectHistorySchema } from './version-answers.js';

const parameters = z.strictObject(pageParameters);
const tag = 'History';
const answers = { 200: pageSchema(subjectHistorySchema) };

/** What happened to one mapping, to one certificate, and to the settings. */
@Controller('v1/gateways/:gateway')
@Scopes('read')
export class SubjectHistoryController {
  constructor(private readonly queries: QueryRunner) {}

  @Get('mappings/:mapping/history')
  @Describe({
    tag,
    summary: "List a mapping's events, newest first",
    details: 'Also of a mapping that is no more. One that was deleted and created again shows its whole life.',
    query: parameters,
    answers,
  })
  async ofMapping(
    @Param('gateway') gateway: string,
    @Param('mapping') name: string,
    @QueryBy(parameters) query: z.infer<typeof parameters>,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<Page<SubjectHistoryItem>> {
    const page = await this.page(gateway, `mapping/${name}`, query);
    if (page.items.length === 0) throw new DomainError('not_found', 'mapping_not_found', 'There has never been a mapping of this name.');
    return answerPage(asked, reply, page);
  }

  @Get('certificates/:certificate/history')
  @Describe({
    tag,
    summary: "List a certificate's events, newest first",
    details: 'Also of a certificate that is no more. What it was each time, and never a key.',
    query: parameters,
    answers,
  })
  async ofCertificate(
    @Param('gateway') gateway: string,
    @Param('certificate') name: string,
    @QueryBy(parameters) query: z.infer<typeof parameters>,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<Page<SubjectHistoryItem>> {
    const page = await this.page(gateway, `certificate/${name}`, query);
    if (page.items.length === 0)
      throw new DomainError('not_found', 'certificate_not_found', 'There has never been a certificate of this name.');
    return answerPage(asked, reply, page);
  }

  @Get('settings/history')
  @Describe({ tag, summary: "List the settings' events, newest first", query: parameters, answers })
  async ofSettings(
    @Param('gateway') gateway: string,
    @QueryBy(parameters) query: z.infer<typeof parameters>,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<Page<SubjectHistoryItem>> {
    return answerPage(asked, reply, await this.page(gateway, 'gateway', query));
  }

  private async page(gateway: string, subject: string, query: z.infer<typeof parameters>): Promise<Page<SubjectHistoryItem>> {
    const { cursor, limit } = query;
    const before = cursor === undefined ? undefined : decodeCursor(`history ${subject}`, 'number', cursor);
    const rows = await this.queries.run(new ListSubjectHistory(gateway, subject, { before, limit: limit + 1 }));
    return toPage(rows, limit, `history ${subject}`, (item) => item.subjectVersion);
  }
}

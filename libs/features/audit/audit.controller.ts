import { Controller, Get, type StreamableFile } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';

import { Scopes } from '#platform/http/access.decorators.js';
import { pageSchema } from '#platform/http/answer-schemas.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { accepts, EventStreams, wantsEventStream } from '#platform/http/event-stream.js';
import { answerPage, decodeCursor, type Page, toPage } from '#platform/http/page.js';
import { QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer, Asked } from '#platform/http/request-context.js';
import { DomainError } from '#platform/kernel/errors.js';

import { type AuditParameters, auditParameters, auditRowSchema } from './audit-answers.js';
import { csvHeading, csvLine, ndjsonLine } from './audit-text.js';
import type { AuditFilter, AuditRow } from './audit-trail.table.js';
import { type AuditStanding, cursorGone, ListAudit, ReadAuditStanding } from './list-audit.js';

const PAGE = 100;
/** Rows a query of an export: large enough to be quick, small enough that a slow reader costs the memory of a few hundred KB. */
const EXPORT_PAGE = 1_000;
const CURSOR = 'audit';
const tag = 'Audit';

/** /v1/audit: who did what, and who was refused it. */
@Controller('v1/audit')
@Scopes('audit')
export class AuditController {
  constructor(
    private readonly queries: QueryRunner,
    private readonly streams: EventStreams,
  ) {}

  @Get()
  @Describe({
    tag,
    summary: 'Who did what: everything that was recorded, in one trail, newest first',
    details:
      'With `Accept: application/x-ndjson` or `text/csv` all of it, oldest first, as a stream; with `?after=` the rest of one that broke off. ' +
      'With `Accept: text/event-stream` what is recorded from now on (`event: audit`), or after the `Last-Event-ID`, which is a position. ' +
      'The header `Chancery-Audit-Lag` says how many versions of the log are not in the trail yet. 410 `cursor_gone`: the trail was built anew since.',
    query: auditParameters,
    answers: { 200: pageSchema(auditRowSchema) },
  })
  async list(
    @QueryBy(auditParameters) query: AuditParameters,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<Page<AuditRow> | StreamableFile> {
    const standing = await this.queries.run(new ReadAuditStanding());
    reply.header('Chancery-Audit-Lag', String(standing.lag));
    if (wantsEventStream(asked)) return this.follow(query, standing, asked, reply);
    if (accepts(asked, 'application/x-ndjson'))
      return this.export(query, standing, 'application/x-ndjson', { heading: '', line: ndjsonLine });
    if (accepts(asked, 'text/csv')) {
      const isWhole = query.after === undefined; // else it is the rest of a file that has its heading
      const type = `text/csv; charset=utf-8; header=${isWhole ? 'present' : 'absent'}`;
      return this.export(query, standing, type, { heading: isWhole ? csvHeading : '', line: csvLine });
    }
    return this.page(query, standing, asked, reply);
  }

  private async page(query: AuditParameters, standing: AuditStanding, asked: FastifyRequest, reply: FastifyReply): Promise<Page<AuditRow>> {
    const { cursor, after, limit = PAGE, ...filter } = query;
    if (after !== undefined) throw misplaced('after', 'A page goes on with the cursor; after is for exports and event streams.');
    const before = cursor === undefined ? undefined : positionOf(decodeCursor(CURSOR, 'string', cursor), standing);
    const { rows, generation } = await this.queries.run(new ListAudit(filter, { before, limit: limit + 1 }));
    return answerPage(
      asked,
      reply,
      toPage(rows, limit, CURSOR, (row) => `${generation}:${row.position}`),
    );
  }

  private export(
    { cursor, after, limit, ...filter }: AuditParameters,
    standing: AuditStanding,
    type: string,
    form: { readonly heading: string; readonly line: (row: AuditRow) => string },
  ): StreamableFile {
    if (cursor !== undefined)
      throw misplaced('cursor', 'An export goes on with after, the position of the last row that arrived; cursor is for pages.');
    const from = positionFrom(after ?? 0, standing);
    return this.streams.text(this.pieces(filter, { from, limit, standing }, form), type);
  }

  /** Page after page, each asked for when the one before is on its way, up to what was there at the beginning. */
  private async *pieces(
    filter: AuditFilter,
    { from, limit = Number.MAX_SAFE_INTEGER, standing }: { from: number; limit: number | undefined; standing: AuditStanding },
    { heading, line }: { readonly heading: string; readonly line: (row: AuditRow) => string },
  ): AsyncGenerator<string> {
    if (heading !== '') yield heading;
    for (let [after, left] = [from, limit]; left > 0; ) {
      const wanted = Math.min(left, EXPORT_PAGE);
      const { rows, generation } = await this.queries.run(new ListAudit(filter, { after, limit: wanted }));
      if (generation !== standing.generation) throw cursorGone();
      const due = rows.filter(({ position }) => position <= standing.position);
      if (due.length > 0) yield due.map(line).join('');
      if (due.length < wanted) return;
      after = due.at(-1)?.position ?? after;
      left -= due.length;
    }
  }

  private follow(query: AuditParameters, standing: AuditStanding, asked: FastifyRequest, reply: FastifyReply): StreamableFile {
    const { cursor, after, limit: _all, ...filter } = query;
    if (cursor !== undefined) throw misplaced('cursor', 'An event stream goes on with Last-Event-ID; cursor is for pages.');
    const last = asked.headers['last-event-id'];
    if (last !== undefined && !/^\d{1,15}$/.test(String(last)))
      throw misplaced('', 'Last-Event-ID must be the id of an event of this stream.');
    const from = positionFrom(last === undefined ? (after ?? standing.position) : Number(last), standing);
    return this.streams.tail(asked, reply, {
      event: 'audit',
      after: from,
      place: (row: AuditRow) => row.position,
      read: async (place) => {
        const { rows, generation } = await this.queries.run(new ListAudit(filter, { after: place, limit: EXPORT_PAGE }));
        if (generation !== standing.generation) throw cursorGone();
        return rows;
      },
    });
  }
}

/** A position that a client kept: one that the trail has not reached was handed out before it was built anew. */
function positionFrom(position: number, standing: AuditStanding): number {
  if (position > standing.position) throw cursorGone();
  return position;
}

function positionOf(key: string, standing: AuditStanding): number {
  const [, generation, position] = /^(\d{1,15}):(\d{1,15})$/.exec(key) ?? [];
  if (Number(generation) !== standing.generation) throw cursorGone();
  return Number(position);
}

function misplaced(parameter: string, message: string): DomainError {
  const errors = parameter === '' ? [] : [{ pointer: `/${parameter}`, code: 'parameter_misplaced', message }];
  return new DomainError('malformed', 'query_invalid', message, { errors });
}

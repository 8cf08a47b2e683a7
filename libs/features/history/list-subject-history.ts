import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import { ReadGateway } from '#features/gateway/list-gateways.js';
import type { Db } from '#platform/database/database.js';
import { listSubjectEvents, type SubjectEvent } from '#platform/eventstore/read-history.js';
import { type Difference, jsonDiff } from '#platform/http/json-diff.js';
import { DB } from '#platform/http/tokens.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { SubjectKinds } from './subject-kind.js';

/** One event of a subject, with who did it and what it changed. States are in today's shape, `schemaVersion` is the one they were recorded in. */
export interface SubjectHistoryItem {
  readonly subjectVersion: number;
  readonly gatewayVersion: number;
  readonly event: string;
  readonly schemaVersion: number;
  readonly action: string;
  readonly actor: string;
  readonly reason: string | null;
  readonly recordedAt: string;
  readonly before: JsonObject | null;
  readonly state: JsonObject | null;
  readonly diff: readonly Difference[];
}

/** What happened to one subject of a gateway, newest first: its whole life, also what was before it was deleted and created again. */
export class ListSubjectHistory extends Query<SubjectHistoryItem[]> {
  constructor(
    readonly gateway: string,
    readonly subject: string,
    readonly page: { readonly before: number | undefined; readonly limit: number },
  ) {
    super();
  }
}

@QueryHandler(ListSubjectHistory)
export class ListSubjectHistoryHandler implements IQueryHandler<ListSubjectHistory> {
  constructor(
    private readonly queries: QueryBus,
    private readonly kinds: SubjectKinds,
    @Inject(DB) private readonly db: Db,
  ) {}

  /** Nothing for a subject that never existed. @throws DomainError not_found `gateway_not_found`. */
  async execute({ gateway, subject, page }: ListSubjectHistory): Promise<SubjectHistoryItem[]> {
    const events = await listSubjectEvents(this.db, { stream: `gateway/${gateway}`, subject, ...page });
    if (events.length === 0) await this.queries.execute(new ReadGateway(gateway)); // no such gateway, or no such subject?
    return events.map((event) => toItem(this.kinds, subject, event));
  }
}

function toItem(kinds: SubjectKinds, subject: string, event: SubjectEvent): SubjectHistoryItem {
  const before = kinds.upcast(subject, event.before.state, event.before.schemaVersion);
  const state = kinds.upcast(subject, event.after.state, event.after.schemaVersion);
  const { subjectVersion, streamVersion: gatewayVersion, action, actor, reason, recordedAt } = event;
  return {
    subjectVersion,
    gatewayVersion,
    event: event.type,
    schemaVersion: event.after.schemaVersion,
    action,
    actor,
    reason,
    recordedAt,
    before,
    state,
    diff: jsonDiff(before, state),
  };
}

import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { DB } from '#platform/http/tokens.js';
import { DomainError } from '#platform/kernel/errors.js';

import { type AuditProjection, readAuditLag, readAuditProjection } from './audit.projection.js';
import { type AuditFilter, type AuditPage, type AuditRow, listAudit } from './audit-trail.table.js';

/** The trail was built anew since the caller's position was handed out. */
export function cursorGone(): DomainError {
  const message = 'The trail was built anew since, and positions begin again. Ask without the cursor or position, or by time (since).';
  return new DomainError('gone', 'cursor_gone', message);
}

/** Rows of the trail with the generation that their positions belong to. */
export interface AuditAnswer {
  readonly rows: readonly AuditRow[];
  readonly generation: number;
}

/** A page of the trail. */
export class ListAudit extends Query<AuditAnswer> {
  constructor(
    readonly filter: AuditFilter,
    readonly page: AuditPage,
  ) {
    super();
  }
}

@QueryHandler(ListAudit)
export class ListAuditHandler implements IQueryHandler<ListAudit> {
  constructor(@Inject(DB) private readonly db: Db) {}

  /** @throws DomainError gone `cursor_gone` when the trail was begun anew meanwhile. */
  async execute({ filter, page }: ListAudit): Promise<AuditAnswer> {
    const { generation } = await readAuditProjection(this.db);
    const rows = await listAudit(this.db, filter, page);
    if ((await readAuditProjection(this.db)).generation !== generation) throw cursorGone();
    return { rows, generation };
  }
}

export interface AuditStanding extends AuditProjection {
  /** Versions of the log that are not in the trail yet. */
  readonly lag: number;
}

/** Where the trail stands. */
export class ReadAuditStanding extends Query<AuditStanding> {}

@QueryHandler(ReadAuditStanding)
export class ReadAuditStandingHandler implements IQueryHandler<ReadAuditStanding> {
  constructor(@Inject(DB) private readonly db: Db) {}

  async execute(): Promise<AuditStanding> {
    const [projection, lag] = await Promise.all([readAuditProjection(this.db), readAuditLag(this.db)]);
    return { ...projection, lag };
  }
}

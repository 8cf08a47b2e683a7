import { type Db, named, sqlQuery, type Tx } from '#platform/database/database.js';

/** Where the trail stands. */
export interface AuditProjection {
  /** Counts the rebuilds: positions of another generation mean other rows. */
  readonly generation: number;
  /** Of the newest row; 0 while there is none. */
  readonly position: number;
}

/** A stream whose next version cannot be projected. */
export interface ParkedStream {
  readonly stream: string;
  readonly version: number;
  readonly reason: string;
}

/**
 * Projects the next versions of the log in one statement: at most about `limit`, of all streams in the order of their times. `chancery.project_audit`
 * decides under its lock which versions and which positions: of two writers the second waits, and then takes what the first has left.
 * @param only Just this stream, for finding the version that cannot be projected.
 * @returns how many versions became rows, and whether there are more: without, the trail is complete (streams that are `passedOver` aside).
 * @throws Error when the log of a stream has a gap; whatever a version that cannot be projected makes the database say. Nothing is changed then.
 */
export async function projectAudit(
  db: Db | Tx,
  { limit, passedOver, only }: { readonly limit: number; readonly passedOver: readonly string[]; readonly only?: string },
): Promise<{ readonly projected: number; readonly more: boolean }> {
  const [row] = await sqlQuery<{ projected: number; more: boolean }>(db, PROJECT, [limit, passedOver, only ?? null]);
  return row ?? { projected: 0, more: false };
}

const PROJECT = named('chancery.project_audit', 'SELECT projected, more FROM chancery.project_audit($1, $2, $3)');

/** The row that counts the positions, held until the transaction ends. */
async function lockProjection(tx: Tx): Promise<void> {
  await sqlQuery(tx, 'SELECT FROM chancery.audit_projection FOR UPDATE', []);
}

/** Says of a stream that its next version cannot be projected, and why. Its rows stay as they are. */
export async function parkAudit(tx: Tx, stream: string, reason: string): Promise<ParkedStream> {
  await lockProjection(tx);
  const rows = await sqlQuery<ParkedStream>(
    tx,
    `INSERT INTO chancery.audit_cursor AS c (stream, parked_version, parked_reason, parked_at) VALUES ($1, 1, $2, clock_timestamp())
     ON CONFLICT (stream) DO UPDATE SET parked_version = c.version + 1, parked_reason = excluded.parked_reason, parked_at = excluded.parked_at
     RETURNING stream, parked_version AS version, parked_reason AS reason`,
    [stream, reason],
  );
  const [parked] = rows;
  if (parked === undefined) throw new Error(`${stream} was not parked`);
  return parked;
}

/** The streams that are parked. */
export async function listParkedAudit(db: Db): Promise<ParkedStream[]> {
  return sqlQuery(
    db,
    'SELECT stream, parked_version AS version, parked_reason AS reason FROM chancery.audit_cursor WHERE parked_version IS NOT NULL ORDER BY stream',
    [],
  );
}

/** Forgets the trail: the projector builds it again from the first version of every stream, as the next generation. */
export async function resetAudit(tx: Tx): Promise<AuditProjection> {
  await lockProjection(tx);
  await sqlQuery(tx, 'TRUNCATE chancery.audit, chancery.audit_subject, chancery.audit_cursor', []);
  const [row] = await sqlQuery<AuditProjection>(
    tx,
    `UPDATE chancery.audit_projection SET generation = generation + 1, position = 0, latest_at = '-infinity', skew = '0', changed_at = clock_timestamp()
     RETURNING generation, position`,
    [],
  );
  if (row === undefined) throw new Error('chancery.audit_projection has lost its row');
  return row;
}

export async function readAuditProjection(db: Db): Promise<AuditProjection> {
  const [row] = await sqlQuery<AuditProjection>(db, 'SELECT generation, position FROM chancery.audit_projection', []);
  if (row === undefined) throw new Error('chancery.audit_projection has lost its row');
  return row;
}

/** How many versions of the log are not in the trail yet. */
export async function readAuditLag(db: Db): Promise<number> {
  const [row] = await sqlQuery<{ lag: number }>(
    db,
    `SELECT coalesce(sum(greatest(s.version - coalesce(c.version, 0), 0)), 0)::float8 AS lag
     FROM chancery.stream s LEFT JOIN chancery.audit_cursor c ON c.stream = s.stream`,
    [],
  );
  return row?.lag ?? 0;
}

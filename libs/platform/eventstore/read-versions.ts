import { type Database, named, sqlQuery } from '#platform/database/database.js';

import type { RecordedEvent } from './command.js';

export interface LoggedVersion {
  readonly version: number;
  readonly recordedAt: string;
  readonly action: string;
  readonly actor: string;
  readonly reason: string | null;
  readonly events: readonly RecordedEvent[];
}

export interface News {
  /** What follows the cursor, oldest first. */
  readonly versions: readonly LoggedVersion[];
  /** There are more than a batch takes. */
  readonly more: boolean;
}

const BATCH_VERSIONS = 500;

interface Row {
  head: number;
  /** Null, and with it all that follows, when nothing follows the cursor. */
  version: number | null;
  recorded_at: Date;
  action: string;
  actor: string;
  reason: string | null;
  event_count: number;
  events: RecordedEvent[] | null;
}

const READ = named(
  'chancery.read_versions',
  `SELECT s.version AS head, v.version, v.recorded_at, v.action, v.actor, v.reason, v.event_count, e.events
   FROM chancery.stream s
   LEFT JOIN LATERAL (
     SELECT v.version, v.recorded_at, v.action, v.actor, v.reason, v.event_count FROM chancery.version v
     WHERE v.stream = $1 AND v.version > $2::bigint AND v.version <= $2::bigint + ${BATCH_VERSIONS} ORDER BY v.version
   ) v ON true
   LEFT JOIN LATERAL (
     SELECT json_agg(json_build_object('subject', e.subject, 'subjectVersion', e.subject_version, 'type', e.type, 'schemaVersion', e.schema_version,
                                       'state', e.state, 'index', e.position) ORDER BY e.position) AS events
     FROM chancery.event e WHERE e.stream = $1 AND e.version = v.version
   ) e ON true
   WHERE s.stream = $1 ORDER BY v.version`,
);

/**
 * The versions of a stream after a cursor, with its head, in one snapshot. The log promises that versions are gapless; a reader that believed it blindly
 * would lose events the day it is broken (a restore to the past, a hand in the database), so the promise is checked. What comes before a gap is
 * answered first.
 * @throws Error for a gap right after the cursor or within what is answered, for a version that has not all of its events, for a head before the cursor.
 */
export async function readVersions({ db }: Pick<Database, 'db'>, stream: string, cursor: number): Promise<News> {
  const rows = await sqlQuery<Row>(db, READ, [stream, cursor]);
  const head = rows[0]?.head ?? 0;
  if (head < cursor) throw new Error(`${stream}: the log ends at version ${head}, and ${cursor} was applied: the database was set back`);
  const versions: LoggedVersion[] = [];
  for (const row of rows) {
    if (row.version === null) break;
    const expected = cursor + 1 + versions.length;
    if (row.version !== expected) throw new Error(`${stream}: version ${row.version} follows ${expected - 1}: the log has a gap`);
    if (row.events?.length !== row.event_count)
      throw new Error(`${stream}: version ${row.version} has ${row.events?.length ?? 0} of its ${row.event_count} events`);
    versions.push({
      version: row.version,
      recordedAt: row.recorded_at.toISOString(),
      action: row.action,
      actor: row.actor,
      reason: row.reason,
      events: row.events,
    });
  }
  if (versions.length === 0 && head > cursor)
    throw new Error(`${stream}: version ${cursor + 1} is missing, and the log is at ${head}: the log has a gap`);
  return { versions, more: (versions.at(-1)?.version ?? cursor) < head };
}

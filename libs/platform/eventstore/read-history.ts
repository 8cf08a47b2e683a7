import { type Db, sqlQuery } from '#platform/database/database.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { readInPages } from './read-in-pages.js';

/** A recorded state with the shape that it has, null when the subject did not exist. */
export interface RecordedState {
  readonly state: JsonObject | null;
  readonly schemaVersion: number;
}

/** The newest version of a stream; 0 when there is no such stream. */
export async function readHead(db: Db, stream: string): Promise<number> {
  const rows = await sqlQuery<{ version: number }>(db, 'SELECT version FROM chancery.stream WHERE stream = $1', [stream]);
  return rows[0]?.version ?? 0;
}

/** One event of a subject with the record of its version. */
export interface SubjectEvent {
  readonly subjectVersion: number;
  readonly streamVersion: number;
  readonly type: string;
  readonly after: RecordedState;
  readonly before: RecordedState;
  readonly action: string;
  readonly actor: string;
  readonly reason: string | null;
  readonly recordedAt: string;
}

interface SubjectEventRow {
  subject_version: number;
  version: number;
  type: string;
  schema_version: number;
  state: JsonObject | null;
  action: string;
  actor: string;
  reason: string | null;
  recorded_at: Date;
}

/**
 * What happened to one subject, newest first, through every end and new beginning; `before` is the last subject version of the page before. A page
 * costs its own rows, wherever it is.
 */
export async function listSubjectEvents(
  db: Db,
  options: { readonly stream: string; readonly subject: string; readonly before?: number | undefined; readonly limit: number },
): Promise<SubjectEvent[]> {
  const rows = await sqlQuery<SubjectEventRow>(
    db,
    // One more than the page: a subject's versions have no gaps, so the state before an event is that of the next row.
    `SELECT e.subject_version, e.version, e.type, e.schema_version, e.state, v.action, v.actor, v.reason, v.recorded_at
     FROM chancery.event e
     JOIN chancery.version v ON v.stream = e.stream AND v.version = e.version
     WHERE e.stream = $1 AND e.subject = $2 AND e.subject_version < coalesce($3::bigint, 9223372036854775807)
     ORDER BY e.subject_version DESC LIMIT $4`,
    [options.stream, options.subject, options.before ?? null, options.limit + 1],
  );
  return rows.slice(0, options.limit).map((row, i) => ({
    subjectVersion: row.subject_version,
    streamVersion: row.version,
    type: row.type,
    after: { state: row.state, schemaVersion: row.schema_version },
    before: { state: rows[i + 1]?.state ?? null, schemaVersion: rows[i + 1]?.schema_version ?? 0 },
    action: row.action,
    actor: row.actor,
    reason: row.reason,
    recordedAt: row.recorded_at.toISOString(),
  }));
}

/** A subject that some version of a range touched, as it was before the range and as it is at its end: perhaps the same. */
export interface TouchedSubject {
  readonly subject: string;
  readonly before: RecordedState;
  readonly after: RecordedState;
}

interface TouchedRow {
  subject: string;
  before_state: JsonObject | null;
  before_schema: number | null;
  after_state: JsonObject | null;
  after_schema: number;
}

/**
 * The subjects that the versions above `after` up to `upTo` touched, by name. It costs as much as there are events in between, however many subjects
 * the stream has: a subject's versions have no gaps, so the state before its first event is the event before that.
 */
export async function listTouchedSubjects(
  db: Db,
  stream: string,
  range: { readonly after: number; readonly upTo: number },
): Promise<TouchedSubject[]> {
  return readInPages(
    db,
    `WITH touched AS (
       SELECT e.subject, min(e.subject_version) AS first, max(e.subject_version) AS last
       FROM chancery.event e WHERE e.stream = $1 AND e.version > $2 AND e.version <= $3 GROUP BY e.subject
     )
     SELECT t.subject, b.state AS before_state, b.schema_version AS before_schema, a.state AS after_state, a.schema_version AS after_schema
     FROM touched t
     JOIN chancery.event a ON a.stream = $1 AND a.subject = t.subject AND a.subject_version = t.last
     LEFT JOIN chancery.event b ON b.stream = $1 AND b.subject = t.subject AND b.subject_version = t.first - 1
     ORDER BY t.subject`,
    [stream, range.after, range.upTo],
    (row: TouchedRow) => ({
      subject: row.subject,
      before: { state: row.before_state, schemaVersion: row.before_schema ?? 0 },
      after: { state: row.after_state, schemaVersion: row.after_schema },
    }),
  );
}

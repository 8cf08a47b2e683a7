import { type Db, named, sqlQuery } from '#platform/database/database.js';
import type { JsonObject } from '#platform/kernel/json.js';

import type { RecordedEvent, SubjectRecord } from './command.js';
import { eachPage, readInPages, readPages } from './read-in-pages.js';

/** A version as the audit record that it is. */
export interface VersionRecord {
  readonly version: number;
  readonly action: string;
  readonly actor: string;
  readonly reason: string | null;
  readonly requestId: string | null;
  readonly commandId: string;
  readonly idempotencyKey: string | null;
  readonly recordedAt: string;
  /** Hexadecimal. */
  readonly hash: string;
  readonly parentHash: string;
  readonly eventCount: number;
  /** What the action alone does not say: which version a rollback restored, and the like. */
  readonly details: JsonObject | null;
  /** Null for a version that nobody has to confirm. `open` until it is settled, which may be a moment after the deadline. */
  readonly confirmation: { readonly deadline: string; readonly state: 'open' | 'confirmed' | 'reverted' | 'conflicted' } | null;
}

interface SubjectRow {
  subject: string;
  version: number;
  from_version: number;
  schema_version: number;
  state: JsonObject | null;
  recorded_at: Date;
}

const toSubject = (row: SubjectRow): SubjectRecord => ({
  subject: row.subject,
  version: row.version,
  streamVersion: row.from_version,
  schemaVersion: row.schema_version,
  state: row.state,
  recordedAt: row.recorded_at.toISOString(),
});

const READ_SUBJECT = named(
  'chancery.read_subject',
  'SELECT subject, version, from_version, schema_version, state, recorded_at FROM chancery.subject WHERE stream = $1 AND subject = $2',
);

/** One subject as it is now; version 0 when it never existed. */
export async function readSubject(db: Db, stream: string, subject: string): Promise<SubjectRecord> {
  const rows = await sqlQuery<SubjectRow>(db, READ_SUBJECT, [stream, subject]);
  return rows[0] ? toSubject(rows[0]) : { subject, version: 0, streamVersion: 0, schemaVersion: 0, state: null, recordedAt: null };
}

/**
 * The living subjects of a kind, by name in byte order, a page at a time: `after` is the last full subject name of the page before. `equals` compares
 * top-level text members of the state, `prefixes` their beginnings, `labels` the members of its `labels`.
 */
export async function listSubjects(
  db: Db,
  options: {
    readonly stream: string;
    readonly kind: string;
    readonly after?: string;
    readonly limit: number;
    readonly equals?: Readonly<Record<string, string>>;
    readonly labels?: Readonly<Record<string, string>>;
    readonly prefixes?: Readonly<Record<string, string>>;
  },
): Promise<SubjectRecord[]> {
  const values: unknown[] = [options.stream, `${options.kind}/`, `${options.kind}0`, options.after ?? '', options.limit];
  const value = (text: string) => `$${values.push(text)}::text`;
  const filters = [
    ...Object.entries(options.equals ?? {}).map(([key, text]) => `state->>${value(key)} = ${value(text)}`),
    ...Object.entries(options.labels ?? {}).map(([key, text]) => `state->'labels'->>${value(key)} = ${value(text)}`),
    ...Object.entries(options.prefixes ?? {}).map(([key, text]) => `starts_with(state->>${value(key)}, ${value(text)})`),
  ];
  const rows = await sqlQuery<SubjectRow>(
    db,
    // '0' follows '/' in byte order, so the two bounds hold exactly the names of this kind.
    `SELECT subject, version, from_version, schema_version, state, recorded_at FROM chancery.subject
     WHERE stream = $1 AND subject >= $2 AND subject < $3 AND subject > $4 AND state IS NOT NULL${filters.map((filter) => ` AND ${filter}`).join('')}
     ORDER BY subject LIMIT $5`,
    values,
  );
  return rows.map(toSubject);
}

/** All living subjects with the head that they belong to, in one snapshot: where a worker starts instead of at event 1. */
export async function readSnapshot(db: Db, stream: string): Promise<{ version: number; hash: string; subjects: SubjectRecord[] }> {
  return db
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async (tx) => {
      const head = await sqlQuery<{ version: number; hash: string }>(
        tx,
        "SELECT version, encode(hash, 'hex') AS hash FROM chancery.stream WHERE stream = $1",
        [stream],
      );
      const text =
        'SELECT subject, version, from_version, schema_version, state, recorded_at FROM chancery.subject WHERE stream = $1 AND state IS NOT NULL ORDER BY subject';
      const subjects = await readPages(tx, text, [stream], toSubject);
      return { version: head[0]?.version ?? 0, hash: head[0]?.hash ?? '', subjects };
    });
}

/** A living subject, without what only its history needs. */
export interface LivingSubject {
  readonly subject: string;
  readonly streamVersion: number;
  readonly state: JsonObject;
}

/**
 * As `readSnapshot`, for a reader who must not stop its process for a large stream: the subjects come a page at a time, each in its turn, out of one
 * snapshot. Answers the head that they belong to.
 */
export async function readSnapshotPages(
  db: Db,
  stream: string,
  pageSize: number,
  onPage: (page: readonly LivingSubject[]) => void | Promise<void>,
): Promise<number> {
  return db
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async (tx) => {
      const head = await sqlQuery<{ version: number }>(tx, 'SELECT version FROM chancery.stream WHERE stream = $1', [stream]);
      // By the index, whatever the planner knows of a stream that was empty a moment ago.
      await sqlQuery(tx, 'SET LOCAL enable_sort = off', []);
      const text = `SELECT subject, from_version AS "streamVersion", state FROM chancery.subject
        WHERE stream = $1 AND state IS NOT NULL ORDER BY stream, subject`;
      await eachPage<LivingSubject>(tx, { text, values: [stream], pageSize }, onPage);
      return head[0]?.version ?? 0;
    });
}

/** The subjects that lived at a version, as they were, by name. A version beyond the head answers the head's state. */
export function stateAt(db: Db, stream: string, version: number): Promise<SubjectRecord[]> {
  return readInPages(
    db,
    'SELECT subject, version, from_version, schema_version, state, recorded_at FROM chancery.state_at($1, $2) ORDER BY subject COLLATE "C"',
    [stream, version],
    toSubject,
  );
}

/** The streams whose names match a LIKE pattern, with their heads. */
export async function listStreams(db: Db, pattern: string): Promise<{ stream: string; version: number; hash: string }[]> {
  return sqlQuery(db, LIST_STREAMS, [pattern]);
}

const LIST_STREAMS = named(
  'chancery.list_streams',
  "SELECT stream, version, encode(hash, 'hex') AS hash FROM chancery.stream WHERE stream LIKE $1 ORDER BY stream",
);

interface VersionRow {
  version: number;
  action: string;
  actor: string;
  reason: string | null;
  request_id: string | null;
  command_id: string;
  idempotency_key: string | null;
  recorded_at: Date;
  hash: string;
  parent_hash: string;
  event_count: number;
  details: JsonObject | null;
  deadline: Date | null;
  settled: 'confirmed' | 'reverted' | 'conflicted' | null;
}

const VERSION_COLUMNS = `v.version, v.action, v.actor, v.reason, v.request_id, v.command_id, v.idempotency_key, v.recorded_at,
  encode(v.hash, 'hex') AS hash, encode(v.parent_hash, 'hex') AS parent_hash, v.event_count, v.details, c.deadline, c.settled`;
const VERSION_TABLES = 'chancery.version v LEFT JOIN chancery.confirmation c ON c.stream = v.stream AND c.version = v.version';

const toVersion = (row: VersionRow): VersionRecord => ({
  version: row.version,
  action: row.action,
  actor: row.actor,
  reason: row.reason,
  requestId: row.request_id,
  commandId: row.command_id,
  idempotencyKey: row.idempotency_key,
  recordedAt: row.recorded_at.toISOString(),
  hash: row.hash,
  parentHash: row.parent_hash,
  eventCount: row.event_count,
  details: row.details,
  confirmation: row.deadline === null ? null : { deadline: row.deadline.toISOString(), state: row.settled ?? 'open' },
});

/** The history of a stream, newest first; `before` is the last version of the page before. Of the times, `since` belongs to the range and `until` does not. */
export async function listVersions(
  db: Db,
  options: {
    readonly stream: string;
    readonly before?: number;
    readonly limit: number;
    readonly actor?: string;
    readonly action?: string;
    readonly subject?: string;
    readonly since?: Date;
    readonly until?: Date;
  },
): Promise<VersionRecord[]> {
  const { stream, before, limit, actor, action, subject, since, until } = options;
  const rows = await sqlQuery<VersionRow>(
    db,
    // The bounds are subqueries, so that each is searched once and the primary key is read between them; a subject's versions are an array, so that
    // they are looked up and not found among all the others.
    `SELECT ${VERSION_COLUMNS} FROM ${VERSION_TABLES}
     WHERE v.stream = $1 AND v.version < coalesce($2::bigint, 9223372036854775807) AND ($4::text IS NULL OR v.actor = $4) AND ($5::text IS NULL OR v.action = $5)
       AND v.version >= coalesce((SELECT chancery.version_since($1, $7::timestamptz)), 0)
       AND v.version < coalesce((SELECT chancery.version_since($1, $8::timestamptz)), 9223372036854775807)
       AND ($6::text IS NULL OR v.version = ANY (ARRAY(SELECT e.version FROM chancery.event e WHERE e.stream = $1 AND e.subject = $6)))
     ORDER BY v.version DESC LIMIT $3`,
    [stream, before ?? null, limit, actor ?? null, action ?? null, subject ?? null, since ?? null, until ?? null],
  );
  return rows.map(toVersion);
}

export interface EventWithBefore extends RecordedEvent {
  /** The subject's state before this event; null when it did not exist. */
  readonly before: JsonObject | null;
  /** Of `before`; null with it. */
  readonly beforeSchemaVersion: number | null;
}

/** One version with its events, each with the state before it; undefined when the stream has no such version. */
export async function readVersion(
  db: Db,
  stream: string,
  version: number,
): Promise<(VersionRecord & { events: EventWithBefore[] }) | undefined> {
  const versions = await sqlQuery<VersionRow>(
    db,
    `SELECT ${VERSION_COLUMNS} FROM ${VERSION_TABLES} WHERE v.stream = $1 AND v.version = $2`,
    [stream, version],
  );
  const record = versions[0];
  if (!record) return undefined;
  const events = await readInPages(
    db,
    `SELECT e.subject, e.subject_version AS "subjectVersion", e.type, e.schema_version AS "schemaVersion", e.state, e.position AS index,
            b.state AS before, b.schema_version AS "beforeSchemaVersion"
     FROM chancery.event e LEFT JOIN chancery.event b ON b.stream = e.stream AND b.subject = e.subject AND b.subject_version = e.subject_version - 1
     WHERE e.stream = $1 AND e.version = $2 ORDER BY e.position`,
    [stream, version],
    (event: EventWithBefore) => event,
  );
  return { ...toVersion(record), events };
}

/**
 * Recomputes every digest and hash of a stream after `from` (a version whose hash the caller has pinned; the beginning by default), and looks for gaps
 * and for a head that is not the last version. Incremental: pin what it answers and start there the next time.
 */
export async function verifyStream(
  db: Db,
  stream: string,
  options: { readonly from?: { readonly version: number; readonly hash: string } } = {},
): Promise<{ ok: true; version: number; hash: string } | { ok: false; version: number; fault: string }> {
  const { from } = options;
  const rows = await sqlQuery<{ head: number | null; hash: string | null; version: number | null; fault: string | null }>(
    db,
    `WITH start AS (SELECT $2::bigint AS version, coalesce(decode($3, 'hex'), chancery.genesis_hash($1)) AS hash)
     SELECT s.version AS head, encode(s.hash, 'hex') AS hash, f.version, f.fault
     FROM start LEFT JOIN chancery.stream s ON s.stream = $1 LEFT JOIN LATERAL chancery.verify($1, start.version, start.hash) f ON true`,
    [stream, from?.version ?? 0, from?.hash ?? null],
  );
  const row = rows[0];
  if (row && row.version !== null) return { ok: false, version: row.version, fault: row.fault ?? 'unknown' };
  if (from && (row?.head ?? 0) < from.version)
    return { ok: false, version: row?.head ?? 0, fault: `the log ends before the pinned version ${from.version}` };
  return { ok: true, version: row?.head ?? 0, hash: row?.hash ?? '' };
}

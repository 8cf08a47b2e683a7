import { type Db, sqlQuery } from '#platform/database/database.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { type LogFault, type LogFaultKind, type LogTable, logFault } from './log-fault.js';

/** Subjects per statement: half a second's work where each has a hundred events. */
const SUBJECTS = 500;

/** Some subjects of a stream: those named, or all whose names lie between two (the first exclusive; null: to the end). */
export type SubjectBatch = { readonly only: readonly string[] } | { readonly after: string; readonly upTo: string | null };

/** A subject with what hangs on it, as the tables have it in one snapshot. */
export interface HeldSubject {
  readonly subject: string;
  readonly from_version: number;
  readonly schema_version: number;
  readonly state: JsonObject;
  readonly claims: readonly string[];
  readonly references: readonly string[];
}

/**
 * All subjects of a stream, batch by batch; with `since`, those that a later version touched. A batch is small enough for one short statement, and what
 * is compared of a subject lies in one snapshot.
 */
export async function* subjectBatches(db: Db, stream: string, since: number | null, size = SUBJECTS): AsyncGenerator<SubjectBatch> {
  for (let after = ''; ; ) {
    const [row] = await sqlQuery<{ names: string[] | null }>(db, since === null ? nextSubjects : nextTouched, [
      stream,
      after,
      size,
      ...(since === null ? [] : [since]),
    ]);
    const names = row?.names ?? [];
    const last = names.length < size;
    if (since !== null && names.length > 0) yield { only: names };
    if (since === null) yield { after, upTo: last ? null : (names.at(-1) ?? null) };
    if (last) return;
    after = names.at(-1) ?? '';
  }
}

const nextSubjects = `SELECT array_agg(q.subject ORDER BY q.subject) AS names
  FROM (SELECT s.subject FROM chancery.subject s WHERE s.stream = $1 AND s.subject > $2 ORDER BY s.subject LIMIT $3) q`;
const nextTouched = `SELECT array_agg(q.subject ORDER BY q.subject) AS names
  FROM (SELECT DISTINCT e.subject FROM chancery.event e WHERE e.stream = $1 AND e.version > $4 AND e.subject > $2 ORDER BY e.subject LIMIT $3) q`;

function within(batch: SubjectBatch): { readonly condition: string; readonly values: readonly unknown[] } {
  return 'only' in batch
    ? { condition: 'subject = ANY ($2::text[])', values: [batch.only] }
    : { condition: 'subject > $2 AND ($3::text IS NULL OR subject <= $3)', values: [batch.after, batch.upTo] };
}

interface FaultRow {
  readonly table: LogTable;
  readonly kind: LogFaultKind;
  readonly version: number | null;
  readonly subject: string | null;
  readonly message: string;
}

async function firstOf(db: Db, text: string, values: readonly unknown[]): Promise<LogFault | null> {
  try {
    const [row] = await sqlQuery<FaultRow>(db, text, values);
    return row === undefined ? null : logFault(row);
  } catch (error) {
    // A value that the append could not have written (a state that is no JSON, a range the wrong way round) does not even let itself be compared.
    if (!/^22/.test(String((error as { code?: unknown }).code ?? ''))) throw error;
    return logFault({
      kind: 'state_mismatch',
      table: 'event',
      message: `The tables cannot be compared with the events: ${(error as Error).message}.`,
    });
  }
}

/** The first difference between the events of these subjects and what follows from them: the numbering, the current states, the closed intervals. */
export function findStateFault(db: Db, stream: string, batch: SubjectBatch): Promise<LogFault | null> {
  const { condition, values } = within(batch);
  return firstOf(db, foldDifferences(condition), [stream, ...values]);
}

const foldDifferences = (condition: string) => `
  WITH moved AS (
    SELECT e.subject, e.subject_version, e.version, e.schema_version, e.state, e.position,
           lead(e.version) OVER o AS next, lag(e.subject_version, 1, 0::bigint) OVER o AS number_before, lag(e.version, 1, 0::bigint) OVER o AS version_before
    FROM chancery.event e WHERE e.stream = $1 AND e.${condition} WINDOW o AS (PARTITION BY e.subject ORDER BY e.subject_version)
  ), fold AS ( -- what stayed when its version was recorded
    SELECT m.subject, m.subject_version, m.version, m.schema_version, m.next, m.state::text::jsonb AS stays,
           (SELECT w.recorded_at FROM chancery.version w WHERE w.stream = $1 AND w.version = m.version) AS recorded_at -- by its key: a join would read all versions
    FROM moved m WHERE m.next IS DISTINCT FROM m.version
  ), differences AS (
    SELECT 'event' AS "table", 'state_mismatch' AS kind, m.version, m.subject,
           format('Event %s of version %s is number %s of its subject, and follows number %s of version %s.', m.position, m.version, m.subject_version, m.number_before, m.version_before) AS message
    FROM moved m WHERE m.subject_version <> m.number_before + 1 OR m.version < m.version_before
    UNION ALL
    SELECT 'subject', CASE WHEN s.subject IS NULL THEN 'deleted' WHEN f.subject IS NULL THEN 'inserted' ELSE 'state_mismatch' END,
           coalesce(f.version, s.from_version), coalesce(f.subject, s.subject),
           CASE WHEN s.subject IS NULL THEN 'The events made this subject, and it has no current state.' WHEN f.subject IS NULL THEN 'No event made this subject.'
             ELSE 'The current state is not what the last event says.' END
    FROM (SELECT * FROM fold WHERE next IS NULL) f FULL JOIN (SELECT * FROM chancery.subject s WHERE s.stream = $1 AND s.${condition}) s ON s.subject = f.subject
    WHERE (s.version, s.from_version, s.schema_version, s.state, s.recorded_at) IS DISTINCT FROM (f.subject_version, f.version, f.schema_version, f.stays, f.recorded_at)
    UNION ALL
    SELECT 'subject_history', CASE WHEN h.subject IS NULL THEN 'deleted' WHEN f.subject IS NULL THEN 'inserted' ELSE 'state_mismatch' END,
           coalesce(f.version, lower(h.valid)), coalesce(f.subject, h.subject),
           CASE WHEN h.subject IS NULL THEN 'A former state that the events show is missing.' WHEN f.subject IS NULL THEN 'No event made this former state.'
             ELSE 'A former state is not what its event says, or not for the versions that it was there.' END
    FROM (SELECT * FROM fold WHERE next IS NOT NULL AND stays IS NOT NULL) f
    FULL JOIN (SELECT * FROM chancery.subject_history h WHERE h.stream = $1 AND h.${condition}) h ON h.subject = f.subject AND h.version = f.subject_version
    WHERE (h.valid, h.schema_version, h.state, h.recorded_at) IS DISTINCT FROM (int8range(f.version, greatest(f.next, f.version)), f.schema_version, f.stays, f.recorded_at)
  )
  SELECT * FROM differences ORDER BY version, subject, "table" LIMIT 1`;

/** The first claim, reference or confirmation of a stream that does not follow from its subjects and records. `since`: confirmations of later versions only. */
export async function findHeldFault(db: Db, stream: string, since: number): Promise<LogFault | null> {
  return (
    (await firstOf(db, claimDifferences, [stream])) ??
    (await firstOf(db, referenceDifferences, [stream])) ??
    (await firstOf(db, confirmationDifferences, [stream, since]))
  );
}

const claimDifferences = `
  SELECT 'claim' AS "table", CASE WHEN c.claim IS NULL THEN 'deleted' WHEN d.claim IS NULL THEN 'inserted' ELSE 'state_mismatch' END AS kind,
         d.from_version AS version, coalesce(d.subject, c.subject) AS subject,
         CASE WHEN c.claim IS NULL THEN format('The subject holds %s, and there is no such claim.', d.claim) WHEN d.claim IS NULL THEN format('No subject holds the claim %s.', c.claim)
           ELSE format('The claim %s is given to %s.', c.claim, c.subject) END AS message
  FROM (SELECT s.subject, s.from_version, x.claim COLLATE "C" AS claim FROM chancery.subject s CROSS JOIN LATERAL unnest(s.claims) AS x(claim) WHERE s.stream = $1) d
  FULL JOIN (SELECT c.claim, c.subject FROM chancery.claim c WHERE c.stream = $1) c ON c.claim = d.claim
  WHERE c.subject IS DISTINCT FROM d.subject ORDER BY d.from_version, 4 LIMIT 1`;

const referenceDifferences = `
  SELECT 'reference' AS "table", 'inserted' AS kind, coalesce(s.from_version, t.from_version) AS version, r.subject,
         format('A reference to %s, and %s does not live.', r.target, CASE WHEN s.state IS NULL THEN r.subject ELSE r.target END) AS message
  FROM chancery.reference r
  LEFT JOIN chancery.subject s ON s.stream = r.stream AND s.subject = r.subject LEFT JOIN chancery.subject t ON t.stream = r.stream AND t.subject = r.target
  WHERE r.stream = $1 AND (s.state IS NULL OR t.state IS NULL) ORDER BY r.subject, r.target LIMIT 1`;

const confirmationDifferences = `
  SELECT 'confirmation' AS "table", CASE WHEN c.version IS NULL THEN 'deleted' WHEN w.version IS NULL THEN 'inserted' ELSE 'state_mismatch' END AS kind,
         coalesce(w.version, c.version) AS version,
         CASE WHEN c.version IS NULL THEN 'The record asks for a confirmation, and there is no row that awaits it.' WHEN w.version IS NULL THEN 'No record asks for this confirmation.'
           ELSE 'The deadline is not the one of the record.' END AS message
  FROM (SELECT w.version, w.recorded_at, (w.details->>'confirmWithinMs')::bigint AS ms FROM chancery.version w
        WHERE w.stream = $1 AND w.version > $2 AND w.details->>'confirmWithinMs' IS NOT NULL) w
  FULL JOIN (SELECT * FROM chancery.confirmation c WHERE c.stream = $1 AND c.version > $2) c ON c.version = w.version
  WHERE c.deadline IS DISTINCT FROM w.recorded_at + w.ms * interval '1 millisecond' ORDER BY 3 LIMIT 1`;

/** The living subjects of a batch with the claims and references that the tables give them. */
export function readHeldSubjects(db: Db, stream: string, batch: SubjectBatch): Promise<HeldSubject[]> {
  const { condition, values } = within(batch);
  return sqlQuery<HeldSubject>(
    db,
    `SELECT s.subject, s.from_version, s.schema_version, s.state, coalesce(s.claims, '{}') AS claims,
       coalesce((SELECT array_agg(r.target ORDER BY r.target) FROM chancery.reference r WHERE r.stream = s.stream AND r.subject = s.subject), '{}') AS "references"
     FROM chancery.subject s WHERE s.stream = $1 AND s.${condition} AND s.state IS NOT NULL ORDER BY s.subject`,
    [stream, ...values],
  );
}

/** Every stream that any table of the log knows, by name. */
export async function listLoggedStreams(db: Db): Promise<string[]> {
  // From name to name by the index: as quick with a million records as with ten.
  const each = ['stream', 'version', 'event', 'subject', 'subject_history', 'claim', 'reference', 'confirmation'].map(
    (table) => `(WITH RECURSIVE n AS (
       (SELECT t.stream FROM chancery.${table} t ORDER BY t.stream LIMIT 1)
       UNION ALL SELECT (SELECT t.stream FROM chancery.${table} t WHERE t.stream > n.stream ORDER BY t.stream LIMIT 1) FROM n WHERE n.stream IS NOT NULL
     ) SELECT n.stream FROM n WHERE n.stream IS NOT NULL)`,
  );
  const rows = await sqlQuery<{ stream: string }>(db, `SELECT q.stream FROM (${each.join(' UNION ')}) q ORDER BY q.stream COLLATE "C"`, []);
  return rows.map(({ stream }) => stream);
}

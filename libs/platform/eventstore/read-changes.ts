import { type Db, named, sqlQuery } from '#platform/database/database.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { eachPage, readInPages } from './read-in-pages.js';

/** A subject as a version left it; null when it ended. */
export interface ChangedSubject {
  readonly subject: string;
  readonly state: JsonObject | null;
}

/** More events than this are not read one by one: reading what lives is cheaper. */
const MOST_EVENTS = 2_000;
/** Rows of a page: some milliseconds of parsing. */
const PAGE = 1_000;

const READ_CHANGES = named(
  'chancery.read_changes',
  `SELECT s.version AS head, e.subject, e.state FROM chancery.stream s
   LEFT JOIN LATERAL (
     SELECT e.subject, e.state, e.version, e.position FROM chancery.event e
     WHERE e.stream = $1 AND e.version > $2 ORDER BY e.version, e.position LIMIT ${MOST_EVENTS + 1}
   ) e ON true
   WHERE s.stream = $1 ORDER BY e.version, e.position`,
);

/**
 * What happened to a stream after a version, in order, with the head that it leads to; for whoever keeps its state in memory and looks when it is
 * needed. Undefined when that is too much to read, or the stream is behind the version (the database was set back): then `readLiving` begins anew.
 */
export async function readChanges(
  db: Db,
  stream: string,
  after: number,
): Promise<{ readonly version: number; readonly changes: readonly ChangedSubject[] } | undefined> {
  const rows = await sqlQuery<{ head: number; subject: string | null; state: JsonObject | null }>(db, READ_CHANGES, [stream, after]);
  const head = rows[0]?.head ?? 0;
  if (head < after || rows.length > MOST_EVENTS) return undefined;
  return { version: head, changes: rows.flatMap(({ subject, state }) => (subject === null ? [] : [{ subject, state }])) };
}

/**
 * What lives of a kind and was not made by this version, in the order of names; undefined when there are more than `limit` - 1 of the kind in all.
 */
export async function readOthers(
  db: Db,
  { stream, kind, madeBy, limit }: { readonly stream: string; readonly kind: string; readonly madeBy: number; readonly limit: number },
): Promise<{ readonly subject: string; readonly state: JsonObject }[] | undefined> {
  const [first, end] = [`${kind}/`, `${kind}0`]; // '0' follows '/' in byte order
  const [counted] = await sqlQuery<{ living: number }>(
    db,
    `SELECT count(*)::int AS living FROM (
       SELECT FROM chancery.subject WHERE stream = $1 AND subject >= $2 AND subject < $3 AND state IS NOT NULL LIMIT $4
     ) AS live`,
    [stream, first, end, limit],
  );
  if ((counted?.living ?? 0) >= limit) return undefined;
  return sqlQuery(
    db,
    `SELECT subject, state FROM chancery.subject
     WHERE stream = $1 AND subject >= $2 AND subject < $3 AND state IS NOT NULL AND from_version <> $5 ORDER BY subject LIMIT $4`,
    [stream, first, end, limit, madeBy],
  );
}

/**
 * Hands over everything that lives in a stream, page by page and in one snapshot, so that a hundred thousand subjects hold up nobody.
 * @returns the version that they are of; 0 when there is no such stream.
 */
export async function readLiving(db: Db, stream: string, take: (page: readonly ChangedSubject[]) => void): Promise<number> {
  return db
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async (tx) => {
      const head = await sqlQuery<{ version: number }>(tx, 'SELECT version FROM chancery.stream WHERE stream = $1', [stream]);
      const text = 'SELECT subject, state FROM chancery.subject WHERE stream = $1 AND state IS NOT NULL';
      await eachPage<ChangedSubject>(tx, { text, values: [stream], pageSize: PAGE }, take);
      return head[0]?.version ?? 0;
    });
}

/**
 * What the subjects of a kind were at version `at` that any version after `after` has made something of; null where they did not live. The others are
 * what they were.
 */
export async function readFormer(
  db: Db,
  stream: string,
  { kind, after, at }: { readonly kind: string; readonly after: number; readonly at: number },
): Promise<ReadonlyMap<string, JsonObject | null>> {
  const former = new Map<string, JsonObject | null>();
  await readInPages(
    db,
    `SELECT t.subject, (
       SELECT e.state FROM chancery.event e
       WHERE e.stream = $1 AND e.subject = t.subject AND e.version <= $4 ORDER BY e.subject_version DESC LIMIT 1
     ) AS state
     FROM (SELECT DISTINCT e.subject FROM chancery.event e WHERE e.stream = $1 AND e.version > $2 AND starts_with(e.subject, $3)) t`,
    [stream, after, `${kind}/`, at],
    ({ subject, state }: ChangedSubject) => former.set(subject, state),
  );
  return former;
}

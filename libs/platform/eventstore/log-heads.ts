import { type Db, sqlQuery } from '#platform/database/database.js';

/** A version of a stream with its hash, hexadecimal: what an anchor pins. */
export interface LogHead {
  readonly stream: string;
  readonly version: number;
  readonly hash: string;
}

/** A pinned head beside what the database has. */
export interface ComparedHead extends LogHead {
  /** The hash of that version; null when there is no such version. */
  readonly recorded: string | null;
  /** The stream's last version; null when there is no record of the stream. */
  readonly last: number | null;
}

/** The head of every stream that holds a version, in one snapshot, by name. */
export function readHeads(db: Db): Promise<LogHead[]> {
  return sqlQuery<LogHead>(
    db,
    "SELECT stream, version, encode(hash, 'hex') AS hash FROM chancery.stream WHERE version > 0 ORDER BY stream",
    [],
  );
}

/** What the database has for each pinned head, in the order given. */
export function compareHeads(db: Db, heads: readonly LogHead[]): Promise<ComparedHead[]> {
  return sqlQuery<ComparedHead>(
    db,
    `SELECT h.stream, h.version, h.hash, encode(w.hash, 'hex') AS recorded, l.version AS last
     FROM unnest($1::text[], $2::bigint[], $3::text[]) WITH ORDINALITY AS h(stream, version, hash, i)
     LEFT JOIN chancery.version w ON w.stream = h.stream AND w.version = h.version
     LEFT JOIN LATERAL (SELECT v.version FROM chancery.version v WHERE v.stream = h.stream ORDER BY v.version DESC LIMIT 1) l ON true
     ORDER BY h.i`,
    [heads.map(({ stream }) => stream), heads.map(({ version }) => version), heads.map(({ hash }) => hash)],
  );
}

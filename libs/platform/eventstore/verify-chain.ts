import { type Db, sqlQuery } from '#platform/database/database.js';
import { sha256Hex } from '#platform/kernel/digest.js';

import { diagnoseVersion } from './chain-diagnosis.js';
import { type LogFault, logFault, type PinnedVersion } from './log-fault.js';

/** Versions per statement: a tenth of a second's work, so that it can be stopped and no snapshot grows old. */
const CHUNK = 20_000;

export interface ChainVerdict {
  /** The last version that was found right; the head when there is no fault. */
  readonly verified: PinnedVersion;
  /** How many versions were recomputed. */
  readonly checked: number;
  readonly fault: LogFault | null;
}

/** Before version 1. */
export function genesis(stream: string): PinnedVersion {
  return { version: 0, hash: sha256Hex(`chancery\n${stream}`) };
}

/**
 * Recomputes every digest and hash of a stream after `from` up to the version that is the last one when it begins, and names the first fault. It only
 * reads, chunk by chunk, each in a snapshot of its own: what is checked here never changes, so writers are neither waited for nor held up.
 * @throws whatever `signal` was aborted with; the errors of the database.
 */
export async function verifyChain(
  db: Db,
  stream: string,
  { from = genesis(stream), signal, chunk = CHUNK }: { from?: PinnedVersion; signal?: AbortSignal; chunk?: number } = {},
): Promise<ChainVerdict> {
  if (from.version > 0 && !(await isAsPinned(db, stream, from)))
    return rebuiltSince(db, stream, from, { chunk, ...(signal && { signal }) });
  const last = await lastVersion(db, stream, null);
  let verified = from;
  for (let end = from.version; end < last.version; ) {
    signal?.throwIfAborted();
    end = Math.min(end + chunk, last.version);
    const [found] = await sqlQuery<{ version: number }>(db, "SELECT version FROM chancery.verify_versions($1, $2, decode($3, 'hex'), $4)", [
      stream,
      verified.version,
      verified.hash,
      end,
    ]);
    if (found) {
      const before = await lastGood(db, stream, verified, found.version);
      const fault = await diagnoseVersion(db, stream, found.version, before);
      return { verified: before, checked: before.version - from.version, fault };
    }
    verified = await lastVersion(db, stream, end);
  }
  signal?.throwIfAborted();
  return { verified, checked: verified.version - from.version, fault: await findTailFault(db, stream) };
}

async function isAsPinned(db: Db, stream: string, { version, hash }: PinnedVersion): Promise<boolean> {
  const rows = await sqlQuery(db, "SELECT FROM chancery.version WHERE stream = $1 AND version = $2 AND hash = decode($3, 'hex')", [
    stream,
    version,
    hash,
  ]);
  return rows.length > 0;
}

/** The pinned version is not there any more: the whole chain says where it is broken, or, when it is whole, that it was rebuilt. */
async function rebuiltSince(
  db: Db,
  stream: string,
  pinned: PinnedVersion,
  options: { signal?: AbortSignal; chunk: number },
): Promise<ChainVerdict> {
  const verdict = await verifyChain(db, stream, options);
  if (verdict.fault !== null) return verdict;
  const truncated = verdict.verified.version < pinned.version;
  const fault = truncated
    ? logFault({
        kind: 'truncated',
        table: 'version',
        version: verdict.verified.version + 1,
        from: verdict.verified.version + 1,
        to: pinned.version,
        message: `The log ends at version ${verdict.verified.version}; version ${pinned.version} was seen earlier.`,
      })
    : logFault({
        kind: 'anchor_mismatch',
        table: 'version',
        version: pinned.version,
        from: 1,
        to: pinned.version,
        message: `Version ${pinned.version} has another hash than the one that was seen earlier, and the chain is whole: it was rebuilt.`,
      });
  return { ...verdict, fault };
}

/** The version before the faulty one: everything up to it was found right in the same statement. */
async function lastGood(db: Db, stream: string, from: PinnedVersion, faulty: number): Promise<PinnedVersion> {
  const before = await lastVersion(db, stream, faulty - 1);
  return before.version > from.version ? before : from;
}

async function lastVersion(db: Db, stream: string, upTo: number | null): Promise<PinnedVersion> {
  const rows = await sqlQuery<PinnedVersion>(
    db,
    `SELECT version, encode(hash, 'hex') AS hash FROM chancery.version
     WHERE stream = $1 AND version > 0 AND ($2::bigint IS NULL OR version <= $2) ORDER BY version DESC LIMIT 1`,
    [stream, upTo],
  );
  return rows[0] ?? genesis(stream);
}

interface Tail {
  readonly head: number | null;
  readonly head_hash: string | null;
  readonly last: number | null;
  readonly last_hash: string | null;
  readonly orphan: number | null;
  readonly version_below: number | null;
  readonly event_below: number | null;
}

/** What the chain cannot show: records beyond its ends, and a head that is not its last version. One statement, so one snapshot. */
async function findTailFault(db: Db, stream: string): Promise<LogFault | null> {
  const [tail] = await sqlQuery<Tail>(
    db,
    `SELECT s.version AS head, encode(s.hash, 'hex') AS head_hash, l.version AS last, encode(l.hash, 'hex') AS last_hash,
       (SELECT e.version FROM chancery.event e WHERE e.stream = $1 AND e.version > coalesce(l.version, 0) ORDER BY e.version LIMIT 1) AS orphan,
       (SELECT w.version FROM chancery.version w WHERE w.stream = $1 AND w.version <= 0 LIMIT 1) AS version_below,
       (SELECT e.version FROM chancery.event e WHERE e.stream = $1 AND e.version <= 0 LIMIT 1) AS event_below
     FROM (VALUES (1)) AS one LEFT JOIN chancery.stream s ON s.stream = $1
     LEFT JOIN LATERAL (SELECT w.version, w.hash FROM chancery.version w WHERE w.stream = $1 ORDER BY w.version DESC LIMIT 1) l ON true`,
    [stream],
  );
  if (tail === undefined) throw new Error('the tail of the log was not answered');
  if (tail.version_below !== null) return recordBelow('version', tail.version_below);
  if (tail.event_below !== null) return recordBelow('event', tail.event_below);
  if (tail.head === null || tail.head_hash === null)
    return logFault({ kind: 'deleted', table: 'stream', message: 'The stream has records and no head.' });
  const last = { version: tail.last ?? 0, hash: tail.last_hash ?? genesis(stream).hash };
  if (tail.orphan !== null && tail.orphan > tail.head) return orphanedEvents(db, stream, tail.orphan);
  return headFault(db, stream, { version: tail.head, hash: tail.head_hash }, last);
}

function recordBelow(table: 'version' | 'event', version: number): LogFault {
  return logFault({ kind: 'inserted', table, version, message: `Versions begin with 1, and there is a record of version ${version}.` });
}

async function orphanedEvents(db: Db, stream: string, version: number): Promise<LogFault> {
  const [event] = await sqlQuery<{ subject: string; position: number }>(
    db,
    'SELECT subject, position FROM chancery.event WHERE stream = $1 AND version = $2 ORDER BY position LIMIT 1',
    [stream, version],
  );
  const named = event ? { subject: event.subject, position: event.position } : {};
  return logFault({
    kind: 'inserted',
    table: 'event',
    version,
    ...named,
    message: `There are events of version ${version}, beyond the head.`,
  });
}

async function headFault(db: Db, stream: string, head: PinnedVersion, last: PinnedVersion): Promise<LogFault | null> {
  if (head.version === last.version && head.hash === last.hash) return null;
  if (head.version > last.version) {
    const from = last.version + 1;
    const message = `The head is version ${head.version}, and the last record is version ${last.version}.`;
    return logFault({ kind: 'deleted', table: 'version', version: from, from, to: head.version, message });
  }
  const known = head.version === 0 ? genesis(stream).hash === head.hash : await isAsPinned(db, stream, head);
  if (known) {
    const from = head.version + 1;
    const message = `The head is version ${head.version}, and there are records up to version ${last.version}: they were added, or the head was set back.`;
    return logFault({ kind: 'inserted', table: 'version', version: from, from, to: last.version, message });
  }
  const message = `The head (version ${head.version}) is not the last version (${last.version}): the head was altered, or that version was altered together with its hash.`;
  return logFault({ kind: 'head_mismatch', table: 'stream', version: head.version, message });
}

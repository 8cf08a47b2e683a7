import { type Db, sqlQuery } from '#platform/database/database.js';
import { sha256Hex } from '#platform/kernel/digest.js';

import { diagnoseEvents } from './event-diagnosis.js';
import { type LogFault, logFault, type PinnedVersion } from './log-fault.js';

/** How far away a record is looked for that was moved to another number. */
const MOVED_AT_MOST = 2_000;

/** A version as its hash covers it: everything as the text that is hashed. */
interface VersionTexts {
  readonly version: number;
  readonly parent_hash: string;
  readonly hash: string;
  readonly events_root: string;
  readonly event_count: number;
  readonly command_id: string;
  readonly action: string;
  readonly actor: string;
  readonly request_id: string | null;
  readonly idempotency_key: string | null;
  readonly fingerprint: string | null;
  readonly details: string | null;
  readonly micros: string;
  readonly reason: string | null;
}

/** The same text as the database function version_hash makes. */
function hashOf(stream: string, row: VersionTexts): string {
  const optional = (text: string | null) => (text === null ? '-' : `=${text}`);
  return sha256Hex(
    [
      row.parent_hash,
      stream,
      row.version,
      row.events_root,
      row.event_count,
      row.command_id,
      row.action,
      row.actor,
      optional(row.request_id),
      optional(row.idempotency_key),
      optional(row.fingerprint),
      optional(row.details),
      row.micros,
      optional(row.reason),
    ].join('\n'),
  );
}

async function readTexts(db: Db, stream: string, from: number, to: number): Promise<VersionTexts[]> {
  return sqlQuery<VersionTexts>(
    db,
    `SELECT version, encode(parent_hash, 'hex') AS parent_hash, encode(hash, 'hex') AS hash, encode(events_root, 'hex') AS events_root, event_count,
       command_id, action, actor, request_id, idempotency_key, fingerprint, details::text AS details,
       (extract(epoch FROM recorded_at) * 1000000)::bigint::text AS micros, reason
     FROM chancery.version WHERE stream = $1 AND version BETWEEN $2 AND $3 ORDER BY version`,
    [stream, from, to],
  );
}

/**
 * Says what is wrong at a version at which the chain breaks, everything before it (`before`) being right: which table, which record, and what was done
 * to it, as far as what is left can tell.
 */
export async function diagnoseVersion(db: Db, stream: string, version: number, before: PinnedVersion): Promise<LogFault> {
  const [row, after] = await readTexts(db, stream, version, version + 1);
  if (row === undefined || row.version !== version) return missingRecord(version, row?.version);
  if (version !== before.version + 1) {
    const [from, to] = [before.version + 1, version - 1];
    const message = `Version ${version} follows version ${before.version}: nothing is left of what was between them.`;
    return logFault({ kind: 'gap', table: 'version', version: from, from, to, message });
  }
  const vouchedFor = after?.version === version + 1 ? after.parent_hash : await headHash(db, stream, version);
  if (hashOf(stream, row) !== row.hash) return alteredRecord(db, stream, row, before, vouchedFor);
  if (vouchedFor !== undefined && vouchedFor !== row.hash) {
    if (after !== undefined && hashOf(stream, { ...after, version }) === after.hash) return movedRecord(db, stream, after, version);
    const witness = after === undefined ? 'the head' : 'the version after it';
    return altered(version, `its fields and its own hash were changed; ${witness} still names the former hash`);
  }
  if (row.parent_hash !== before.hash) return brokenLink(version, before);
  return diagnoseEvents(db, stream, row);
}

function missingRecord(version: number, next: number | undefined): LogFault {
  const to = next === undefined ? version : next - 1;
  const message = `Version ${version} has events and no record.`;
  return logFault({ kind: 'deleted', table: 'version', version, from: version, to, message });
}

function altered(version: number, how: string): LogFault {
  return logFault({ kind: 'altered', table: 'version', version, message: `Version ${version} is not as it was recorded: ${how}.` });
}

/** The record is one with its hash, and names another parent: the parent was rewritten with its hash, or this is the first version. */
function brokenLink(version: number, before: PinnedVersion): LogFault {
  if (before.version === 0) return altered(version, 'it does not begin where the stream begins');
  return altered(before.version, `it and its own hash were changed; version ${version} still names the former hash`);
}

/** What the head says of the last version's hash; undefined for any other. */
async function headHash(db: Db, stream: string, version: number): Promise<string | undefined> {
  const rows = await sqlQuery<{ hash: string }>(
    db,
    "SELECT encode(hash, 'hex') AS hash FROM chancery.stream WHERE stream = $1 AND version = $2",
    [stream, version],
  );
  return rows[0]?.hash;
}

/** The record's hash is not that of its fields: it has another's number, or a column was changed. */
async function alteredRecord(
  db: Db,
  stream: string,
  row: VersionTexts,
  before: PinnedVersion,
  vouchedFor: string | undefined,
): Promise<LogFault> {
  const { version } = row;
  const original = formerNumber(stream, row);
  if (original !== undefined) return movedRecord(db, stream, row, original);
  if (hashOf(stream, row) === vouchedFor) return altered(version, 'its column hash was changed');
  if (hashOf(stream, { ...row, parent_hash: before.hash }) === row.hash) return altered(version, 'its column parent_hash was changed');
  const events = await eventsOf(db, stream, version);
  if (hashOf(stream, { ...row, ...events }) === row.hash) return altered(version, 'its column events_root or event_count was changed');
  return altered(version, 'its hash is not that of its fields');
}

/** The number under which a record was hashed, when it was another one. */
function formerNumber(stream: string, row: VersionTexts): number | undefined {
  for (let distance = 1; distance <= MOVED_AT_MOST; distance++) {
    for (const version of [row.version - distance, row.version + distance])
      if (version > 0 && hashOf(stream, { ...row, version }) === row.hash) return version;
  }
  return undefined;
}

/** Records were renumbered: two were exchanged, or the others moved up to make room for one, or down to hide that one is missing. */
async function movedRecord(db: Db, stream: string, row: VersionTexts, original: number): Promise<LogFault> {
  const { version } = row;
  if (original < version) {
    const message = `What was version ${original} is now version ${version}: records were put in before it.`;
    return logFault({ kind: 'inserted', table: 'version', version: original, from: original, to: version - 1, message });
  }
  const others = await readTexts(db, stream, version + 1, original + MOVED_AT_MOST);
  const exchanged = others.find((other) => hashOf(stream, { ...other, version }) === other.hash);
  if (exchanged !== undefined) {
    const message = `Versions ${version} and ${exchanged.version} are at each other's place or have been moved.`;
    return logFault({ kind: 'reordered', table: 'version', version, from: version, to: exchanged.version, message });
  }
  const message = `What was version ${original} is now version ${version}: the records from ${version} to ${original - 1} are missing, and the later ones were renumbered.`;
  return logFault({ kind: 'deleted', table: 'version', version, from: version, to: original - 1, message });
}

async function eventsOf(db: Db, stream: string, version: number): Promise<Pick<VersionTexts, 'events_root' | 'event_count'>> {
  const [row] = await sqlQuery<Pick<VersionTexts, 'events_root' | 'event_count'>>(
    db,
    `SELECT encode(sha256(coalesce(string_agg(digest, ''::bytea ORDER BY position), ''::bytea)), 'hex') AS events_root, count(*)::int AS event_count
     FROM chancery.event WHERE stream = $1 AND version = $2`,
    [stream, version],
  );
  return row ?? { events_root: '', event_count: 0 };
}

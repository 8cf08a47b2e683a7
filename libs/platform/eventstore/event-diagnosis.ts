import { createHash } from 'node:crypto';

import { type Db, sqlQuery } from '#platform/database/database.js';

import { type LogFault, logFault } from './log-fault.js';

/** Above this many events of one version, exchanging each with each is too much to try. */
const EXCHANGED_AT_MOST = 300;

interface EventRow {
  readonly position: number;
  readonly subject: string;
  readonly subject_version: number;
  readonly digest: Buffer;
  readonly computed: Buffer;
}

interface Covered {
  readonly version: number;
  readonly events_root: string;
  readonly event_count: number;
}

/** The events of a version are not those that its record covers, and the record is right: which event, and what was done to it. */
export async function diagnoseEvents(db: Db, stream: string, record: Covered): Promise<LogFault> {
  const { version, event_count: count } = record;
  const events = await sqlQuery<EventRow>(
    db,
    `SELECT e.position, e.subject, e.subject_version, e.digest, chancery.event_digest(e.type, e.schema_version, e.subject, e.subject_version, e.state::text) AS computed
     FROM chancery.event e WHERE e.stream = $1 AND e.version = $2 ORDER BY e.position`,
    [stream, version],
  );
  const digests = events.map(({ computed }) => computed);
  if (events.length > count) return insertedEvent(events, record, digests);
  if (events.length < count) return deletedEvent(db, stream, events, record);
  const changed = events.find(({ digest, computed }) => !digest.equals(computed));
  if (changed !== undefined) return fault('altered', version, changed, 'is not as it was recorded: its digest is not that of its fields');
  if (root(digests) === record.events_root) {
    const misplaced = events.find(({ position }, index) => position !== index) ?? events[0];
    return fault('altered', version, misplaced, 'has another position than the one it was recorded at');
  }
  return (
    findExchanged(events, record, digests) ??
    (await disagreeing(db, stream, events, version)) ??
    logFault({
      kind: 'altered',
      table: 'event',
      version,
      message: `One of the ${count} events of version ${version} was changed together with its digest.`,
    })
  );
}

function fault(kind: 'altered' | 'inserted' | 'reordered', version: number, event: EventRow | undefined, how: string): LogFault {
  const message =
    event === undefined
      ? `An event of version ${version} ${how}.`
      : `Event ${event.position} of version ${version} (${event.subject}) ${how}.`;
  return logFault({ kind, table: 'event', version, subject: event?.subject ?? null, position: event?.position ?? null, message });
}

function root(digests: readonly Buffer[]): string {
  const hash = createHash('sha256');
  for (const digest of digests) hash.update(digest);
  return hash.digest('hex');
}

/** One event too many: without the right one, the root is that of the record. */
function insertedEvent(
  events: readonly EventRow[],
  { version, event_count: count, events_root: wanted }: Covered,
  digests: readonly Buffer[],
): LogFault {
  const tried = events.length === count + 1 && count <= EXCHANGED_AT_MOST;
  const added = tried ? events.find((_, index) => root(digests.toSpliced(index, 1)) === wanted) : undefined;
  const suspect = added ?? events.find(({ position }) => position < 0 || position >= count);
  return fault('inserted', version, suspect, `was not recorded with it: the record covers ${count}, and there are ${events.length}`);
}

/** Some are missing: the hole in their positions says which place, the tables that follow from the events say which subject. */
async function deletedEvent(
  db: Db,
  stream: string,
  events: readonly EventRow[],
  { version, event_count: count }: Covered,
): Promise<LogFault> {
  const present = new Set(events.map(({ position }) => position));
  const position =
    Array.from({ length: Math.min(count, events.length + 1) }, (_, index) => index).find((index) => !present.has(index)) ?? null;
  const [subject] = await sqlQuery<{ subject: string }>(
    db,
    `SELECT q.subject FROM (
       SELECT s.subject FROM chancery.subject s WHERE s.stream = $1 AND s.from_version = $2
       UNION ALL SELECT h.subject FROM chancery.subject_history h WHERE h.stream = $1 AND NOT h.bulk AND lower(h.valid) = $2 AND h.valid @> $2::bigint
       UNION ALL SELECT h.subject FROM chancery.subject_history h WHERE h.stream = $1 AND h.bulk AND upper(h.valid) > $2::bigint AND lower(h.valid) = $2) q
     WHERE NOT q.subject = ANY ($3::text[]) ORDER BY q.subject LIMIT 1`,
    [stream, version, events.map(({ subject: name }) => name)],
  );
  const message = `Version ${version} was recorded with ${count} event${count === 1 ? '' : 's'}, and there are ${events.length}.`;
  return logFault({ kind: 'deleted', table: 'event', version, subject: subject?.subject ?? null, position, message });
}

/** Two events at each other's place. */
function findExchanged(
  events: readonly EventRow[],
  { version, events_root: wanted }: Covered,
  digests: readonly Buffer[],
): LogFault | undefined {
  if (events.length > EXCHANGED_AT_MOST) return undefined;
  for (let first = 0; first < events.length; first++) {
    for (let second = first + 1; second < events.length; second++) {
      const tried = digests.with(first, digests[second] as Buffer).with(second, digests[first] as Buffer);
      if (root(tried) === wanted)
        return fault('reordered', version, events[first], `is at the place of event ${second} (${events[second]?.subject})`);
    }
  }
  return undefined;
}

/** Every event is one with its digest, and they are not the recorded ones: the one that contradicts the tables is the one that was changed. */
async function disagreeing(db: Db, stream: string, events: readonly EventRow[], version: number): Promise<LogFault | undefined> {
  const how = 'was changed together with its digest: the record of its version covers another';
  if (events.length === 1) return fault('altered', version, events[0], how);
  const rows = await sqlQuery<{ position: number }>(
    db,
    `SELECT e.position FROM chancery.event e
     LEFT JOIN chancery.subject s ON s.stream = e.stream AND s.subject = e.subject AND s.version = e.subject_version
     LEFT JOIN chancery.subject_history h ON h.stream = e.stream AND h.subject = e.subject AND h.version = e.subject_version
     WHERE e.stream = $1 AND e.version = $2 AND (
       (e.state IS NOT NULL AND (e.schema_version, e.state::text::jsonb) IS DISTINCT FROM (coalesce(s.schema_version, h.schema_version), coalesce(s.state, h.state)))
       OR (e.state IS NULL AND (s.state IS NOT NULL OR h.state IS NOT NULL)))
     ORDER BY e.position LIMIT 2`,
    [stream, version],
  );
  const [only, another] = rows;
  return only === undefined || another !== undefined
    ? undefined
    : fault(
        'altered',
        version,
        events.find(({ position }) => position === only.position),
        how,
      );
}

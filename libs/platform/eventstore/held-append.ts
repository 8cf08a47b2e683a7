import type pg from 'pg';

import { DomainError } from '#platform/kernel/errors.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { appendBulk } from './bulk.js';
import { databaseUnavailable, outcomeUnknown } from './combiner.js';
import type { AppendResult, Decided, DecidedCommand, HandleRequest, Outcome, SubjectRecord } from './command.js';
import { classify } from './database-errors.js';
import { checkPrecondition, compose, recordedEvents, viewOf } from './decision.js';
import { refuseAsAppendWould } from './dry-run.js';

/** Everything that lives in a stream at one version, by subject. */
export interface Snapshot {
  readonly version: number;
  readonly subjects: ReadonlyMap<string, SubjectRecord>;
}

/** May read more (an older version, what is quarantined); it is called again on a newer snapshot when the stream moved meanwhile. */
export type DecideOnSnapshot = (snapshot: Snapshot) => Decided | Promise<Decided>;

type Refused = { readonly refusal: Exclude<AppendResult, { code: 'appended' }>; readonly before: ReadonlyMap<string, SubjectRecord> };

/**
 * Reads a stream as a whole, decides and appends while nobody else can append to it. It costs the others the time of the decision, so it is for a
 * command that was overtaken several times.
 * @returns the outcome, or what the append refused; undefined when the stream could not be held, which may be tried again.
 * @throws DomainError whatever `decide` throws; stale `version_mismatch`; unavailable `database_unavailable`, `outcome_unknown`.
 */
export async function appendHeld(
  pool: pg.Pool,
  request: Omit<HandleRequest, 'subjects'>,
  decide: DecideOnSnapshot,
): Promise<Outcome | Refused | undefined> {
  const client = await pool.connect();
  let sent: DecidedCommand | undefined;
  let broken: Error | undefined;
  try {
    await client.query('BEGIN');
    await client.query('SELECT chancery.hold($1)', [request.stream]);
    const all = await readAll(client, request.stream);
    const decided = await decide({ version: all.version, subjects: new Map([...all.records].filter(([, { state }]) => state !== null)) });
    const before = recordsOf(request, decided, all.records);
    checkPrecondition(request.precondition, viewOf(all.version, before));
    const command = compose({ ...request, subjects: [], precondition: { streamVersion: all.version } }, decided, before);
    const outcome = outcomeOf(request, decided, { command, before, version: all.version });
    if (outcome.unchanged || outcome.dryRun) {
      await client.query('ROLLBACK');
      if (!outcome.unchanged) await refuseAsAppendWould(pool, command);
      return outcome;
    }
    sent = command;
    const result = await appendBulk(client, command); // its COMMIT ends the transaction that holds the stream
    return result.code === 'appended'
      ? { ...outcome, version: result.version, recordedAt: result.recordedAt }
      : { refusal: result, before };
  } catch (error) {
    const failure = error instanceof DomainError ? 'defect' : classify(error);
    if (failure === 'lost') broken = error as Error;
    else await client.query('ROLLBACK').catch(() => undefined); // nothing is left to roll back where the append has done it
    if (failure === 'lost' || failure === 'refused') throw sent === undefined ? databaseUnavailable(error) : outcomeUnknown(sent, error);
    if (failure === 'aborted') return undefined;
    throw error;
  } finally {
    client.release(broken);
  }
}

interface Row {
  subject: string;
  version: number;
  from_version: number;
  schema_version: number;
  state: JsonObject | null;
  recorded_at: Date;
}

/** Every subject that ever was, the ended ones too: their versions go on when their names come back. */
async function readAll(client: pg.PoolClient, stream: string): Promise<{ version: number; records: Map<string, SubjectRecord> }> {
  const head = await client.query<{ version: number }>('SELECT version FROM chancery.stream WHERE stream = $1', [stream]);
  const { rows } = await client.query<Row>(
    'SELECT subject, version, from_version, schema_version, state, recorded_at FROM chancery.subject WHERE stream = $1 ORDER BY subject',
    [stream],
  );
  const records = rows.map(({ subject, version, from_version, schema_version, state, recorded_at }): [string, SubjectRecord] => [
    subject,
    { subject, version, streamVersion: from_version, schemaVersion: schema_version, state, recordedAt: recorded_at.toISOString() },
  ]);
  return { version: head.rows[0]?.version ?? 0, records: new Map(records) };
}

/** The subjects that the command rests on: those that it writes, and those that its precondition names. */
function recordsOf(
  request: Omit<HandleRequest, 'subjects'>,
  decided: Decided,
  records: ReadonlyMap<string, SubjectRecord>,
): Map<string, SubjectRecord> {
  const names = new Set([...decided.events.map(({ subject }) => subject), ...Object.keys(request.precondition?.subjects ?? {})]);
  const never = { version: 0, streamVersion: 0, schemaVersion: 0, state: null, recordedAt: null };
  return new Map([...names].map((subject) => [subject, records.get(subject) ?? { subject, ...never }]));
}

function outcomeOf(
  { context, dryRun }: Omit<HandleRequest, 'subjects'>,
  { events, details, notes }: Decided,
  on: { readonly command: DecidedCommand; readonly before: ReadonlyMap<string, SubjectRecord>; readonly version: number },
): Outcome {
  const unchanged = events.length === 0;
  return {
    version: unchanged ? on.version : on.version + 1,
    commandId: context.commandId,
    recordedAt: new Date().toISOString(),
    events: recordedEvents(
      on.command,
      events.map(({ state }) => state),
    ),
    replayed: false,
    unchanged,
    dryRun: dryRun === true,
    basedOn: on.version,
    details,
    notes,
    before: on.before,
  };
}

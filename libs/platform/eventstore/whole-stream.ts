import pg from 'pg';

import { eachInTurns, Turn } from '#platform/kernel/turns.js';

import type { Decided, DecidedCommand, HandleRequest, Outcome, SubjectRecord } from './command.js';
import { recordedEvents } from './decision.js';
import { checkText } from './storable.js';

/** Everything that lives in a stream at one version, by subject. */
export interface Snapshot {
  readonly version: number;
  readonly subjects: ReadonlyMap<string, SubjectRecord>;
}

/** May read more (an older version, what is quarantined); it is called again on a newer snapshot when the stream moved meanwhile. */
export type DecideOnSnapshot = (snapshot: Snapshot) => Decided | Promise<Decided>;

/** A request about a stream as a whole. */
export type WholeRequest = Omit<HandleRequest, 'subjects'>;

/** Every subject of a stream that ever was, at one version: the ended ones too, whose versions go on when their names come back. */
export interface WholeStream {
  readonly version: number;
  readonly records: ReadonlyMap<string, SubjectRecord>;
}

/** Rows that are read at once: 2 ms of parsing. */
const PAGE = 1_000;

type Row = [
  subject: string,
  version: number,
  fromVersion: number,
  schemaVersion: number,
  state: SubjectRecord['state'],
  recordedAt: string,
];

/** Reads a stream as a whole in one snapshot, page by page, so that a hundred thousand subjects hold up nobody. */
export async function readWhole(pool: pg.Pool, stream: string): Promise<WholeStream> {
  const client = await pool.connect();
  let broken = true;
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const whole = await readWholeWithin(client, stream);
    await client.query('COMMIT');
    broken = false;
    return whole;
  } finally {
    client.release(broken);
  }
}

/** The same in the transaction that the client is in: one that sees one snapshot, or holds the stream. */
export async function readWholeWithin(client: pg.PoolClient, stream: string): Promise<WholeStream> {
  const head = await client.query<{ version: number }>('SELECT version FROM chancery.stream WHERE stream = $1', [stream]);
  const records = new Map<string, SubjectRecord>();
  const isoTime = timesAsText();
  const turn = new Turn();
  // In the order of the index, whatever the planner knows of a table that was empty a moment ago (seen: every page a sort of all rows, 7 s).
  await client.query('SET LOCAL enable_sort = off');
  await client.query(OPEN, [stream]);
  for (let page = await readPage(client); page.length > 0; ) {
    // The server reads the next page while this one is taken.
    const next = page.length < PAGE ? Promise.resolve([]) : readPage(client);
    next.catch(() => undefined); // awaited below
    for (const [subject, version, streamVersion, schemaVersion, state, recordedAt] of page)
      records.set(subject, { subject, version, streamVersion, schemaVersion, state, recordedAt: isoTime(recordedAt) });
    if (turn.isOver) await turn.next();
    page = await next;
  }
  await client.query('CLOSE whole; SET LOCAL enable_sort = on');
  return { version: head.rows[0]?.version ?? 0, records };
}

const types = {
  getTypeParser: (oid: number) =>
    oid === pg.types.builtins.INT8 || oid === pg.types.builtins.INT2 ? Number : oid === pg.types.builtins.JSONB ? JSON.parse : String,
} as pg.CustomTypesConfig;

const OPEN = `DECLARE whole NO SCROLL CURSOR FOR
  SELECT subject, version, from_version, schema_version, state, recorded_at FROM chancery.subject WHERE stream = $1 ORDER BY stream, subject`;

async function readPage(client: pg.PoolClient): Promise<Row[]> {
  const { rows } = await client.query<Row>({ text: `FETCH ${PAGE} FROM whole`, rowMode: 'array', types });
  return rows;
}

/** Postgres' text of a time as ISO 8601. What one version made has one time, which is read once. */
function timesAsText(): (text: string) => string {
  let [known, iso] = ['', ''];
  const parse = pg.types.getTypeParser(pg.types.builtins.TIMESTAMPTZ);
  return (text) => {
    if (text !== known) [known, iso] = [text, (parse(text) as unknown as Date).toISOString()];
    return iso;
  };
}

/** What lives of it, to decide on. */
export async function snapshotOf({ version, records }: WholeStream): Promise<Snapshot> {
  const subjects = new Map<string, SubjectRecord>();
  await eachInTurns(records.values(), (record) => {
    if (record.state !== null) subjects.set(record.subject, record);
  });
  return { version, subjects };
}

/** Of each kind: does any subject of it live? */
export async function livingKinds({ records }: WholeStream, kinds: readonly string[]): Promise<Map<string, boolean>> {
  const living = new Map(kinds.map((kind) => [kind, false]));
  if (kinds.length === 0) return living;
  await eachInTurns(records.values(), ({ subject, state }) => {
    if (state === null) return;
    for (const kind of kinds) if (subject.startsWith(kind) && subject[kind.length] === '/') living.set(kind, true);
  });
  return living;
}

/**
 * The subjects that the command rests on: those that it writes, those that its precondition names, and further ones.
 * @throws DomainError invalid `unstorable` for a name that the database cannot bear.
 */
export async function recordsOf(
  request: WholeRequest,
  decided: Decided,
  records: WholeStream['records'],
  restsOn: readonly string[] = [],
): Promise<Map<string, SubjectRecord>> {
  const rested = new Map<string, SubjectRecord>();
  const take = (subject: string) => {
    const known = records.get(subject);
    if (known === undefined) checkText('subject', subject);
    rested.set(subject, known ?? { subject, version: 0, streamVersion: 0, schemaVersion: 0, state: null, recordedAt: null });
  };
  await eachInTurns(restsOn, take);
  await eachInTurns(decided.events, ({ subject }) => take(subject));
  await eachInTurns(Object.keys(request.precondition?.subjects ?? {}), take);
  return rested;
}

/** What the command comes to if it is appended, or has nothing to do. */
export function outcomeOf(
  { context, dryRun }: WholeRequest,
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

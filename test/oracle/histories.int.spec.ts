import { createHash } from 'node:crypto';

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { gatewayKind } from '#features/gateway/gateway.kind.js';
import { documentDigest, documentText, toDocument } from '#features/history/configuration-document.js';
import { SubjectKinds } from '#features/history/subject-kind.js';
import { mappingKind } from '#features/mapping/mapping.kind.js';
import { principalKind } from '#features/principal/principal.kind.js';
import type { EventStore } from '#platform/eventstore/event-store.js';
import { verifyStream } from '#platform/eventstore/read-log.js';

import { type LogFixture, openLog } from '../support/log-fixture.js';
import { applyDiff, canonical, type DiffOperation, type Members, same } from './canonical.js';
import type { Step } from './commands.js';
import { Generator, numbersFrom } from './generator.js';
import { type Played, play } from './play.js';
import { Product } from './product.js';
import type { State } from './rules.js';

const SEED = Number(process.env.CHANCERY_ORACLE_SEED ?? Math.floor(Math.random() * 2 ** 31));
const HISTORIES = Number(process.env.CHANCERY_ORACLE_HISTORIES ?? 2_000);
/** Histories that are played side by side, and those whose versions are read back with the same few statements. */
const AT_ONCE = 16;
const CHUNK = 250;
/** Pairs of versions that are compared, for each history. */
const PAIRS = 2;
/** Every so many-th history has concurrent writers. */
const CONCURRENT = 4;

let log: LogFixture;
let product: Product;
let players: readonly [Product, Product];
beforeAll(async () => {
  log = await openLog();
  const open = (store: EventStore) => new Product(store, log.database.db, kinds);
  players = [open(log.store), open(log.anotherStore({ maxConnections: 6 }))]; // two processes, in effect: they share nothing but the database
  [product] = players;
});
afterAll(() => log?.close());

const kinds = new SubjectKinds([gatewayKind, mappingKind(new Set()), principalKind]);
const stepsOf = (index: number): Step[] => new Generator(SEED + index).history(index % CONCURRENT === 0);

test(`${HISTORIES} random histories from seed ${SEED} are what an independent model says`, async () => {
  process.stderr.write(`histories from CHANCERY_ORACLE_SEED=${SEED}\n`);
  const counts: Record<string, number> = {};
  const faults: string[] = [];
  let versions = 0;
  for (let start = 0; start < HISTORIES && faults.length === 0; start += CHUNK) {
    const indexes = Array.from({ length: Math.min(CHUNK, HISTORIES - start) }, (_, i) => start + i);
    const played = await eachOf(indexes, AT_ONCE, (index) => play(`h${index}`, stepsOf(index), players));
    for (const one of played) for (const [key, n] of Object.entries(one.counts)) counts[key] = (counts[key] ?? 0) + n;
    versions += played.reduce((sum, { oracle }) => sum + oracle.head, 0);
    for (const { gateway, disagreement } of played) if (disagreement) faults.push(`${gateway}: ${disagreement}`);
    faults.push(...(await faultsOfStates(played)));
  }
  if (faults.length > 0)
    process.stderr.write(`the shortest history that shows it: ${JSON.stringify(await shortened(faults[0] as string))}\n`);
  process.stderr.write(`${versions} versions; ${JSON.stringify(counts, Object.keys(counts).sort())}\n`);
  expect(faults.slice(0, 5)).toEqual([]);
  for (const kind of ['accepted', 'unchanged', 'refused']) {
    const commands = Object.keys(counts).filter((key) => key.endsWith(` ${kind}`));
    expect([kind, commands.length > 4]).toEqual([kind, true]); // a generator that only makes one of them proves little
  }
}, 300_000);

/** Leaves out one step after the other of the history that a fault names, as long as there is still a fault. */
async function shortened(fault: string): Promise<readonly Step[]> {
  const index = Number(/h(\d+)/.exec(fault)?.[1]);
  let steps: readonly Step[] = stepsOf(index);
  for (let i = steps.length - 1; i >= 0; i--) {
    const shorter = steps.toSpliced(i, 1);
    const played = await play(`h${index}-${i}`, shorter, players);
    if (played.disagreement !== undefined || (await faultsOfStates([played])).length > 0) steps = shorter;
  }
  return steps;
}

/** The states that the product and its raw events give at every version of these histories, against the oracle's. */
async function faultsOfStates(played: readonly Played[]): Promise<string[]> {
  const streams = played.map(({ gateway }) => `gateway/${gateway}`);
  const [read, folded] = [await statesByRead(streams), await statesByFold(streams)];
  const faults: string[] = [];
  for (const { gateway, oracle, rollbacks } of played) {
    const stream = `gateway/${gateway}`;
    for (let version = 1; version <= oracle.head; version++) {
      const key = `${stream} ${version}`;
      const expected = oracle.at(version);
      if (!equalStates(read.get(key), expected)) faults.push(`${key}: read ${told(read.get(key))}, expected ${told(expected)}`);
      if (!equalStates(folded.get(key), expected)) faults.push(`${key}: folded ${told(folded.get(key))}, expected ${told(expected)}`);
    }
    for (const { version, to, result } of rollbacks) {
      const [restored, original] = [read.get(`${stream} ${version}`), read.get(`${stream} ${to}`)].map((state) => documentOf(state));
      if (!restored || !original) continue;
      if (documentText(restored, 'json') !== documentText(original, 'json'))
        faults.push(`${stream}: ${version} has other bytes than ${to}`);
      if (documentText(restored, 'yaml') !== documentText(original, 'yaml')) faults.push(`${stream}: ${version} has other YAML than ${to}`);
      if (result.outcome.details?.digest !== digestOf(oracle.at(to)))
        faults.push(`${stream}: the record of ${version} names another digest`);
      if (documentDigest(restored) !== digestOf(oracle.at(to))) faults.push(`${stream}: the digest of ${version} is not the oracle's`);
    }
  }
  faults.push(...(await eachOf(played, 8, faultsOfDifferences)).flat());
  const verified = await eachOf(streams, 4, async (stream) => ({ stream, ...(await verifyStream(log.database.db, stream)) }));
  for (const one of verified) if (!one.ok) faults.push(`${one.stream}: version ${one.version}: ${one.fault}`);
  return faults;
}

/** The difference of two versions, in either order, makes of the one state the other: by its whole values, and by its operations. */
async function faultsOfDifferences({ gateway, oracle }: Played): Promise<string[]> {
  const numbers = numbersFrom(SEED + Number(gateway.slice(1)) + 1);
  const version = () => Math.floor(numbers() * (oracle.head + 1));
  const faults: string[] = [];
  for (let pair = 0; pair < PAIRS; pair++) {
    const [from, to] = [version(), version()];
    const { changes } = await product.difference(gateway, from, to);
    const whole = new Map(oracle.at(from));
    const byOperations = new Map(whole);
    for (const { subject, op, before, after, diff } of changes) {
      const place = `${gateway}: ${from}..${to}: ${subject}`;
      const was = whole.get(subject) ?? null;
      if (!same(before as Members | null, was)) faults.push(`${place}: before is ${JSON.stringify(before)}`);
      if (op !== (was === null ? 'added' : after === null ? 'removed' : 'changed')) faults.push(`${place}: ${op}`);
      const patched = applyDiff(was, diff as DiffOperation[]) as Members | null;
      for (const [state, value] of [[whole, after as Members | null] as const, [byOperations, patched] as const]) {
        if (value === null) state.delete(subject);
        else state.set(subject, value);
      }
    }
    if (!equalStates(whole, oracle.at(to))) faults.push(`${gateway}: the difference of ${from} and ${to} makes ${told(whole)}`);
    if (!equalStates(byOperations, oracle.at(to)))
      faults.push(`${gateway}: the operations from ${from} to ${to} make ${told(byOperations)}`);
  }
  return faults;
}

interface StateRow {
  stream: string;
  version: number;
  subject: string;
  state: Members;
}

async function statesByRead(streams: readonly string[]): Promise<Map<string, Map<string, Members>>> {
  const { rows } = await log.database.pool.query<StateRow>(
    `SELECT v.stream, v.version, s.subject, s.state FROM chancery.version v CROSS JOIN LATERAL chancery.state_at(v.stream, v.version) s
     WHERE v.stream = ANY ($1)`,
    [streams],
  );
  const states = new Map<string, Map<string, Members>>();
  for (const { stream, version, subject, state } of rows) {
    const key = `${stream} ${version}`;
    const found = states.get(key) ?? new Map<string, Members>();
    states.set(key, found.set(subject, state));
  }
  return states;
}

async function statesByFold(streams: readonly string[]): Promise<Map<string, Map<string, Members>>> {
  const { rows } = await log.database.pool.query<Omit<StateRow, 'state'> & { state: Members | null }>(
    'SELECT stream, version, subject, state FROM chancery.event WHERE stream = ANY ($1) ORDER BY stream, version, position',
    [streams],
  );
  const states = new Map<string, Map<string, Members>>();
  let [now, of] = [new Map<string, Members>(), ''];
  for (const { stream, version, subject, state } of rows) {
    if (stream !== of) [now, of] = [new Map(), stream];
    if (state === null) now.delete(subject);
    else now.set(subject, state);
    states.set(`${stream} ${version}`, new Map(now)); // the last event of a version stands
  }
  return states;
}

function equalStates(a: ReadonlyMap<string, Members> | undefined, b: State): boolean {
  return a !== undefined && a.size === b.size && [...b].every(([subject, value]) => same(value, a.get(subject)));
}

function documentOf(state: ReadonlyMap<string, Members> | undefined) {
  return (
    state &&
    toDocument(
      kinds,
      [...state].map(([subject, value]) => ({ subject, state: value, schemaVersion: 1 })),
    )
  );
}

/** The digest that the oracle expects of a state, from its own document and canonical form. */
function digestOf(state: State): string {
  const named = (kind: string) =>
    [...state]
      .filter(([subject]) => subject.startsWith(`${kind}/`))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, value]) => value);
  const document = { settings: state.get('gateway') ?? {}, mappings: named('mapping'), principals: named('principal') };
  return createHash('sha256').update(canonical(document)).digest('hex');
}

function told(state: ReadonlyMap<string, Members> | undefined): string {
  return state === undefined ? 'nothing' : canonical(Object.fromEntries(state));
}

/** Maps with so many under way at once. */
async function eachOf<T, R>(items: readonly T[], atOnce: number, make: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const at = next++;
      results[at] = await make(items[at] as T);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return results;
}

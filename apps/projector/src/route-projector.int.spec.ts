import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';

import { listRoutes, readRouteProjections, resetRoutes } from '#features/mapping/mapping.projection.js';
import { type Database, openDatabase, sqlQuery } from '#platform/database/database.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import { createWake, type Wake } from '#platform/eventstore/wake.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { createTestDatabase, type TestDatabase } from '../../../test/support/test-database.js';
import { becomeOwner } from './ownership.js';
import { type RouteProjector, startRouteProjector } from './route-projector.js';

const log = pino({ level: 'silent' });
let testDatabase: TestDatabase;
let database: Database;
let events: EventStore;
let wake: Wake;
const running = new Set<RouteProjector>();

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  database = openDatabase({ url: testDatabase.url, applicationName: 'test' });
  events = new EventStore({ database });
  wake = createWake(testDatabase.url);
});

afterEach(async () => {
  for (const projector of running) await projector.close();
  running.clear();
});

afterAll(async () => {
  await events?.close();
  await wake?.close();
  await database?.close();
  await testDatabase?.drop();
});

function start(): RouteProjector {
  const projector = startRouteProjector({ database, wake, log, onApplied: () => undefined });
  running.add(projector);
  return projector;
}

function mappingState(name: string, changes: JsonObject = {}): JsonObject {
  return {
    name,
    host: '*',
    prefix: `/${name}/`,
    path: null,
    service: 'usersvc',
    rewrite: '/',
    methods: [],
    headers: {},
    precedence: 0,
    timeoutMs: 5000,
    labels: { team: 'blue' },
    ...changes,
  };
}

/** Records one version; a null state deletes. */
async function record(gateway: string, changes: Readonly<Record<string, JsonObject | null>>): Promise<number> {
  const names = Object.keys(changes);
  const outcome = await events.handle(
    {
      stream: `gateway/${gateway}`,
      subjects: names.map((name) => `mapping/${name}`),
      context: { commandId: randomUUID(), action: 'Test', actor: 'test' },
    },
    () => names.map((name) => ({ type: 'MappingChanged', schemaVersion: 1, subject: `mapping/${name}`, state: changes[name] ?? null })),
  );
  return outcome.version;
}

/**
 * What the table must hold, folded here from the raw events and in another way than the program's: the newest event of each subject, sorted by
 * comparing rows pair by pair with the rule as the design says it.
 */
async function foldByHand(gateway: string, upTo = Number.MAX_SAFE_INTEGER): Promise<string[]> {
  const rows = await sqlQuery<{ subject: string; state: Record<string, never> | null }>(
    database.db,
    'SELECT DISTINCT ON (subject) subject, state FROM chancery.event WHERE stream = $1 AND version <= $2 ORDER BY subject, version DESC, position DESC',
    [`gateway/${gateway}`, upTo],
  );
  const live = rows
    .filter((row) => row.state !== null && row.subject.startsWith('mapping/'))
    .map((row) => row.state as unknown as Record<string, never>);
  const rank = (state: Record<string, never>): (string | number)[] => {
    const { host, precedence, path, prefix, headers, methods, name } = state as unknown as {
      host: string;
      precedence: number;
      path: string | null;
      prefix: string | null;
      headers: object;
      methods: string[];
      name: string;
    };
    const broad = host === '*' ? 2 : host.startsWith('*.') ? 1 : 0;
    const conditions = Object.keys(headers).length + Math.min(methods.length, 1);
    return [
      broad,
      broad === 1 ? -host.length : 0,
      host,
      -precedence,
      path === null ? 1 : 0,
      -(path ?? prefix ?? '').length,
      -conditions,
      name,
    ];
  };
  const compare = (a: (string | number)[], b: (string | number)[]) => {
    const at = a.findIndex((part, i) => part !== b[i]);
    return at < 0 ? 0 : (a[at] ?? 0) < (b[at] ?? 0) ? -1 : 1;
  };
  return live.sort((a, b) => compare(rank(a), rank(b))).map((state) => String(state.name));
}

async function table(gateway: string): Promise<string[]> {
  const rows = await listRoutes(database.db, gateway, { limit: 1000 });
  expect(rows.map((row) => row.order)).toEqual(rows.map((_, i) => i));
  return rows.map((row) => row.mapping);
}

async function dump(gateway: string): Promise<unknown> {
  return sqlQuery(database.db, 'SELECT * FROM chancery.route WHERE gateway = $1 ORDER BY order_key', [gateway]);
}

async function until<T>(ask: () => Promise<T | undefined>): Promise<T> {
  const end = performance.now() + 10_000;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > end) throw new Error('not within 10 s');
    await sleep(20);
  }
}

const variety: Readonly<Record<string, JsonObject>> = {
  any: mappingState('any'),
  root: mappingState('root', { prefix: '/' }),
  exact: mappingState('exact', { host: 'a.example.com' }),
  wide: mappingState('wide', { host: '*.com' }),
  narrow: mappingState('narrow', { host: '*.example.com' }),
  first: mappingState('first', { precedence: 10 }),
  last: mappingState('last', { precedence: -10 }),
  page: mappingState('page', { prefix: null, path: '/any/page' }),
  post: mappingState('post', { prefix: '/any/', methods: ['POST'] }),
  picky: mappingState('picky', { prefix: '/any/', methods: ['POST'], headers: { 'x-a': '1' } }),
};

describe('the projected route table', () => {
  test('is the fold of the log, in the total order, whatever the batches were; rebuilt from zero it has equal rows', async () => {
    const gateway = 'fold';
    const projector = start();
    for (const [name, state] of Object.entries(variety)) await record(gateway, { [name]: state });
    await projector.caughtUp();
    expect(await table(gateway)).toEqual(await foldByHand(gateway));
    expect(await table(gateway)).toHaveLength(Object.keys(variety).length);
    // Changed, deleted, brought back, and two that exchange their places in one version.
    await record(gateway, { root: null });
    await record(gateway, { exact: mappingState('exact', { host: 'b.example.com' }), wide: null });
    await record(gateway, { root: mappingState('root', { prefix: '/', service: 'other.ns:81' }) });
    await record(gateway, { first: mappingState('first', { precedence: -10 }), last: mappingState('last', { precedence: 10 }) });
    await projector.caughtUp();
    expect(await table(gateway)).toEqual(await foldByHand(gateway));
    const before = await dump(gateway);
    const version = (await readRouteProjections(database.db, gateway))[0]?.version;
    await database.db.transaction().execute((tx) => resetRoutes(tx, gateway));
    expect(await dump(gateway)).toEqual([]);
    await projector.moved; // it sees that its cursor was set back
    await projector.close();
    await start().caughtUp();
    expect(await dump(gateway)).toEqual(before);
    expect((await readRouteProjections(database.db, gateway))[0]?.version).toBe(version);
  });

  test('two projectors on one log write every version once', async () => {
    const gateway = 'pair';
    const pair = [start(), start()];
    await Promise.all(Object.entries(variety).map(([name, state]) => record(gateway, { [name]: state })));
    // One of the two finds the cursor moved and asks to begin again, as the process does; the other goes on.
    await until(async () => {
      const [projection] = await readRouteProjections(database.db, gateway);
      return projection?.version === Object.keys(variety).length ? true : undefined;
    });
    expect(await table(gateway)).toEqual(await foldByHand(gateway));
    for (const projector of pair) await projector.close();
  });

  test('an event that cannot be folded parks its gateway with the reason; the others go on, and a reset tries again', async () => {
    const good = 'healthy';
    const bad = 'poisoned';
    await record(bad, { fine: mappingState('fine') });
    // Planted behind the validation: larger than the column can hold.
    const poison = await record(bad, { rotten: mappingState('rotten', { precedence: 1e12 }) });
    await record(bad, { later: mappingState('later') });
    const projector = start();
    await record(good, { a: mappingState('a') });
    await projector.caughtUp();
    const [parked] = await readRouteProjections(database.db, bad);
    expect(parked).toMatchObject({ version: poison - 1, parked: { version: poison, reason: expect.stringContaining('integer') } });
    expect(await table(bad)).toEqual(['fine']);
    await record(good, { b: mappingState('b') });
    await projector.caughtUp();
    expect(await table(good)).toEqual(await foldByHand(good));
    expect((await readRouteProjections(database.db, good))[0]?.parked).toBeNull();
    // A restart parks it at the same place again, and does not fall over.
    await projector.close();
    const second = start();
    await second.caughtUp();
    expect((await readRouteProjections(database.db, bad))[0]).toMatchObject({ version: poison - 1, parked: { version: poison } });
    await database.db.transaction().execute((tx) => resetRoutes(tx, bad));
    await second.moved;
  });

  test('lists pages, filters and statuses, with the number in the whole table', async () => {
    const gateway = 'listed';
    for (const [name, state] of Object.entries(variety)) await record(gateway, { [name]: state });
    await start().caughtUp();
    const all = await listRoutes(database.db, gateway, { limit: 1000 });
    const pages: string[] = [];
    for (let after: string | undefined; ; ) {
      const page = await listRoutes(database.db, gateway, { limit: 3, ...(after === undefined ? {} : { after }) });
      pages.push(...page.map((row) => `${row.order}:${row.mapping}`));
      after = page.at(-1)?.orderKey;
      if (page.length < 3) break;
    }
    expect(pages).toEqual(all.map((row) => `${row.order}:${row.mapping}`));
    await sqlQuery(
      database.db,
      "INSERT INTO chancery.mapping_status (gateway, mapping, state, digest, code, reason) VALUES ($1, 'any', 'unresolved', 'd', 'no_endpoint', 'why')",
      [gateway],
    );
    const unresolved = await listRoutes(database.db, gateway, { limit: 10, filters: { state: 'unresolved' } });
    expect(unresolved).toMatchObject([
      { mapping: 'any', order: all.find((row) => row.mapping === 'any')?.order, status: { code: 'no_endpoint' } },
    ]);
    const filtered = await listRoutes(database.db, gateway, { limit: 10, filters: { matchPrefix: '/any/', labels: { team: 'blue' } } });
    expect(filtered.map((row) => row.mapping).sort()).toEqual(['any', 'page', 'picky', 'post']);
    expect(await listRoutes(database.db, gateway, { limit: 10, filters: { labels: { team: 'red' } } })).toEqual([]);
  });

  test('one session owns the tables; the next gets them when it ends', async () => {
    const signal = new AbortController().signal;
    const first = await becomeOwner(testDatabase.url, log, signal);
    const second = becomeOwner(testDatabase.url, log, signal);
    const early = await Promise.race([second.then(() => 'second'), sleep(700).then(() => 'nobody')]);
    expect(early).toBe('nobody');
    // Cut from the server's side, as a dead connection is.
    const admin = openDatabase({ url: testDatabase.adminUrl, applicationName: 'admin' });
    await sqlQuery(
      admin.db,
      "SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
      [],
    );
    await first?.lost;
    const successor = await second;
    expect(successor).not.toBeNull();
    await successor?.release();
    await first?.release();
    await admin.close();
  });
});

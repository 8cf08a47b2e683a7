import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';

import { openDatabase } from '#platform/database/database.js';

import { aContext, anEvent, type LogFixture, openLog } from '../../../test/support/log-fixture.js';
import { EventStore, type NewEvent, type Outcome } from './event-store.js';
import { verifyStream } from './read-log.js';

let log: LogFixture;
beforeAll(async () => {
  log = await openLog();
});
afterAll(() => log.close(), 30_000);

const put = (store: EventStore, stream: string, subject: string, state: NewEvent['state'] = { subject }, more: Partial<NewEvent> = {}) =>
  store.handle({ stream, subjects: [subject], context: aContext() }, () => [anEvent(subject, state, more)]);

describe('one bad command never fails its neighbours', () => {
  const poisons: [string, Partial<NewEvent> & { subject?: string }][] = [
    ['NUL in a state', { state: { text: 'a\0b' } }],
    ['half a character in a state', { state: { text: '\ud800' } }],
    ['NUL in a claim', { claims: ['a\0b'] }],
    ['a schema version beyond smallint', { schemaVersion: 40_000 }],
    ['a claim longer than an index row', { claims: [Array.from({ length: 9_000 }, (_, i) => (i * 7919).toString(36)).join('')] }],
    ['a line break in a type', { type: 'Two\nLines' }],
    ['a state nested beyond the stack', { state: JSON.parse(`{"a":${'['.repeat(6_000)}${']'.repeat(6_000)}}`) }],
  ];
  test.each(poisons)('%s', async (name, poison) => {
    const stream = `gateway/poison-${poisons.findIndex(([other]) => other === name)}`;
    const store = log.anotherStore();
    await put(store, stream, 'thing/first');
    const results = await Promise.allSettled(
      Array.from({ length: 30 }, (_, i) =>
        i === 17 ? put(store, stream, 'thing/bad', { n: i }, poison) : put(store, stream, `thing/${i}`),
      ),
    );
    const refused = results.flatMap((result, i) => (result.status === 'rejected' ? [{ i, reason: result.reason as unknown }] : []));
    expect(refused).toEqual([
      { i: 17, reason: expect.objectContaining({ kind: 'invalid', code: 'unstorable', message: expect.stringContaining('cannot') }) },
    ]);
    expect(await verifyStream(log.database.db, stream)).toMatchObject({ ok: true, version: 30 });
  });

  test('a subject name that the wire cannot carry is refused before it meets the others', async () => {
    const results = await Promise.allSettled(
      ['thing/ok', 'thing/a\0b', 'thing/\udfff'].map((subject) => put(log.store, 'gateway/names', subject)),
    );
    expect(results.map((result) => (result.status === 'rejected' ? result.reason.code : 'ok'))).toEqual(['ok', 'unstorable', 'unstorable']);
  });
});

/** Ends the backends of the application that are at work, every few milliseconds, until stopped. */
async function killingBackends(share: number, during: (killedSoFar: () => number) => Promise<void>): Promise<number> {
  let killed = 0;
  let stopped = false;
  const killer = (async () => {
    while (!stopped) {
      const rows = await log.asAdmin<{ done: boolean }>(
        "SELECT pg_terminate_backend(pid) AS done FROM pg_stat_activity WHERE datname = current_database() AND usename = 'chancery_app' AND state = 'active' AND random() < $1",
        [share],
      );
      killed += rows.length;
      await sleep(3);
    }
  })();
  try {
    await during(() => killed);
  } finally {
    stopped = true;
    await killer;
  }
  return killed;
}

/** I1 and I2: acknowledged once, refused never, unknown at most once; versions gapless and chained. */
async function checkExactlyOnce(stream: string, sent: readonly { commandId: string; outcome?: Outcome; code?: string }[]): Promise<void> {
  const rows = await log.asAdmin<{ command_id: string; version: string }>(
    'SELECT command_id, version FROM chancery.version WHERE stream = $1',
    [stream],
  );
  const recorded = new Map(rows.map((row) => [row.command_id, Number(row.version)]));
  expect(rows).toHaveLength(recorded.size);
  for (const { commandId, outcome, code } of sent) {
    if (outcome) expect(recorded.get(commandId)).toBe(outcome.version);
    else if (code !== 'outcome_unknown') expect(recorded.has(commandId)).toBe(false);
  }
  expect(await verifyStream(log.database.db, stream)).toMatchObject({ ok: true, version: rows.length });
}

test('backends killed in the middle of batches: every answer is true', async () => {
  const stream = 'gateway/killed';
  const stores = [log.anotherStore(), log.anotherStore()];
  const sent: { commandId: string; outcome?: Outcome; code?: string }[] = [];
  const killed = await killingBackends(0.25, async (killedSoFar) => {
    await Promise.all(
      Array.from({ length: 32 }, async (_, caller) => {
        // On a quick machine the work is done before the killer has struck often enough.
        for (let i = 0; i < 15 || (killedSoFar() <= 10 && i < 400); i++) {
          const context = aContext();
          const subject = `thing/${(caller * 7 + i) % 20}`;
          try {
            const outcome = await stores[caller % 2]!.handle({ stream, subjects: [subject], context }, (view) => [
              anEvent(subject, { n: Number(view.subject(subject).state?.n ?? 0) + 1 }, { claims: [subject] }),
            ]);
            sent.push({ commandId: context.commandId, outcome });
          } catch (error) {
            sent.push({ commandId: context.commandId, code: (error as { code: string }).code });
          }
        }
      }),
    );
  });
  expect(killed).toBeGreaterThan(10);
  expect(sent.filter(({ outcome }) => outcome)).not.toHaveLength(0);
  expect(
    sent.flatMap(({ code }) => (code && !['outcome_unknown', 'database_unavailable', 'contended'].includes(code) ? [code] : [])),
  ).toEqual([]);
  await checkExactlyOnce(stream, sent);
  const [sum] = await log.asAdmin<{ n: string }>("SELECT sum((state->>'n')::int) AS n FROM chancery.subject WHERE stream = $1", [stream]);
  const [versions] = await log.asAdmin<{ n: string }>('SELECT version AS n FROM chancery.stream WHERE stream = $1', [stream]);
  expect(Number(sum!.n)).toBe(Number(versions!.n)); // each recorded command added one, none twice
}, 60_000);

test('backends killed during bulk commands: each is whole or not there', async () => {
  const stream = 'gateway/killed-bulk';
  const store = log.anotherStore({ deadlineMs: 20_000 });
  const sent: { commandId: string; outcome?: Outcome; code?: string }[] = [];
  let rounds = 0;
  await killingBackends(0.05, async () => {
    for (; rounds < 12; rounds++) {
      const context = aContext();
      const subjects = Array.from({ length: 400 }, (_, i) => `thing/${rounds}-${i}`);
      try {
        sent.push({
          commandId: context.commandId,
          outcome: await store.handle({ stream, subjects, context }, () => subjects.map((subject) => anEvent(subject, { rounds }))),
        });
      } catch (error) {
        sent.push({ commandId: context.commandId, code: (error as { code: string }).code });
      }
    }
  });
  await checkExactlyOnce(stream, sent);
  const partial = await log.asAdmin('SELECT version FROM chancery.event WHERE stream = $1 GROUP BY version HAVING count(*) <> 400', [
    stream,
  ]);
  expect(partial).toEqual([]);
}, 60_000);

/** Forwards bytes to the server, and at a moment of the test's choosing loses what the server says. */
describe('an answer lost on the way', () => {
  test('the commit happened: the retry finds it and the caller never notices', async () => {
    const { createServer, connect } = await import('node:net');
    const server = new URL(log.test.url);
    let losing = false;
    let lost = 0;
    const proxy = createServer((near) => {
      const far = connect(Number(server.port), server.hostname);
      near.on('data', (bytes) => far.write(bytes));
      far.on('data', (bytes) => {
        // The row description of the append's answer: the transaction is committed by the time the client would read it.
        if (losing && bytes.includes('base_version')) {
          losing = false;
          lost += 1;
          setTimeout(() => near.destroy(), 20);
        } else near.write(bytes);
      });
      near.on('error', () => far.destroy()).on('close', () => far.destroy());
      far.on('error', () => near.destroy()).on('close', () => near.destroy());
    });
    await new Promise<void>((done) => proxy.listen(0, '127.0.0.1', done));
    const url = new URL(server);
    url.port = String((proxy.address() as { port: number }).port);
    const database = openDatabase({ url: url.href, applicationName: 'spec', maxConnections: 2 });
    const store = new EventStore({ database });
    const stream = 'gateway/lost';
    try {
      await put(store, stream, 'thing/warm');
      for (let n = 1; n <= 5; n++) {
        losing = true;
        const outcome = await put(store, stream, 'thing/x', { n });
        expect(outcome).toMatchObject({ version: n + 1, replayed: false, events: [{ subjectVersion: n, state: { n } }] });
      }
      expect(lost).toBe(5);
      expect(await verifyStream(log.database.db, stream)).toMatchObject({ ok: true, version: 6 });
    } finally {
      await store.close();
      await database.close();
      proxy.close();
    }
  }, 30_000);

  test('the truth cannot be learnt before the deadline: outcome_unknown, with the command to look for', async () => {
    const stream = 'gateway/unknown';
    const store = log.anotherStore({ deadlineMs: 700 });
    await put(store, stream, 'thing/x');
    const blocker = new pg.Client({ connectionString: log.test.adminUrl });
    await blocker.connect();
    try {
      await blocker.query('BEGIN; SELECT 1 FROM chancery.stream WHERE stream = $$gateway/unknown$$ FOR UPDATE');
      const context = aContext();
      const began = performance.now();
      await expect(store.handle({ stream, subjects: ['thing/x'], context }, () => [anEvent('thing/x', { n: 2 })])).rejects.toMatchObject({
        kind: 'unavailable',
        code: 'outcome_unknown',
        extra: { commandId: context.commandId },
      });
      expect(performance.now() - began).toBeLessThan(2_000);
    } finally {
      await blocker.query('ROLLBACK');
      await blocker.end();
    }
    await put(store, stream, 'thing/y');
  });
});

describe('bounded waits', () => {
  test('a locked table, an exhausted pool or a dead server answer in time, and all is well afterwards', async () => {
    const stream = 'gateway/bounded';
    const store = log.anotherStore({ deadlineMs: 800, maxConnections: 1 });
    await put(store, stream, 'thing/x');
    const blocker = new pg.Client({ connectionString: log.test.adminUrl });
    await blocker.connect();
    const began = performance.now();
    try {
      await blocker.query('BEGIN; LOCK TABLE chancery.subject IN ACCESS EXCLUSIVE MODE');
      const results = await Promise.allSettled(Array.from({ length: 8 }, (_, i) => put(store, stream, `thing/${i}`)));
      for (const result of results) expect(result).toMatchObject({ status: 'rejected', reason: { kind: 'unavailable' } });
      expect(performance.now() - began).toBeLessThan(3_000);
    } finally {
      await blocker.query('ROLLBACK');
      await blocker.end();
    }
    const deadline = performance.now() + 10_000;
    for (;;) {
      const outcome = await put(store, stream, 'thing/after').catch(() => undefined);
      if (outcome) break;
      if (performance.now() > deadline) throw new Error('the store did not recover');
    }
    expect(await verifyStream(log.database.db, stream)).toMatchObject({ ok: true });
  }, 30_000);

  test('a server that is not there: database_unavailable at the deadline', async () => {
    const database = openDatabase({ url: 'postgresql://nobody@127.0.0.1:1/none', applicationName: 'spec' });
    const store = new EventStore({ database, deadlineMs: 300 });
    await expect(put(store, 'gateway/none', 'thing/x')).rejects.toMatchObject({ kind: 'unavailable', code: 'database_unavailable' });
    await store.close();
    await database.close();
  });
});

test('a second transaction cannot overtake the first: numbers are visible in commit order', async () => {
  // Two sessions: the first has its number and has not committed; a sequence would let the second commit a later number before it.
  const stream = 'gateway/overtake';
  await put(log.store, stream, 'thing/x');
  const first = new pg.Client({ connectionString: log.test.adminUrl, options: '-c search_path=chancery' });
  await first.connect();
  await first.query('BEGIN; SELECT 1 FROM chancery.stream WHERE stream = $$gateway/overtake$$ FOR UPDATE');
  let settled = false;
  const second = put(log.store, stream, 'thing/y').finally(() => {
    settled = true;
  });
  await sleep(100); // long enough for the second to have committed, were it able to
  expect(settled).toBe(false);
  await first.query('ROLLBACK');
  await first.end();
  expect(await second).toMatchObject({ version: 2 });
});

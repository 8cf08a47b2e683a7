import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';

import { aContext, anEvent, type LogFixture, openLog } from '../../../test/support/log-fixture.js';
import { createWake, type Follower, type FollowOptions, follow, type LoggedVersion, type Wake } from './follower.js';

let log: LogFixture;
const closing: { close(): Promise<void> }[] = [];
beforeAll(async () => {
  log = await openLog();
});
afterEach(async () => {
  for (const each of closing.splice(0).reverse()) await each.close();
});
afterAll(() => log.close(), 30_000);

const append = (stream: string, subject: string, n: number) =>
  log.store.handle({ stream, subjects: [subject], context: aContext({ reason: `n${n}` }) }, () => [anEvent(subject, { n })]);
const deaf: Wake = { subscribe: () => () => undefined, close: async () => undefined };

function following(options: Partial<FollowOptions> & Pick<FollowOptions, 'streams'>): {
  follower: Follower;
  seen: Map<string, LoggedVersion[]>;
  errors: unknown[];
} {
  const seen = new Map<string, LoggedVersion[]>();
  const errors: unknown[] = [];
  const follower = follow({
    database: log.database,
    start: async () => 0,
    apply: async ({ stream, versions }) => {
      seen.set(stream, [...(seen.get(stream) ?? []), ...versions]);
    },
    wake: deaf,
    pollMs: 20,
    onError: (error) => errors.push(error),
    ...options,
  });
  closing.push(follower);
  return { follower, seen, errors };
}

async function until(condition: () => boolean | Promise<boolean>, deadlineMs = 10_000): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${deadlineMs} ms: ${condition}`);
    await sleep(5);
  }
}

const numbers = (versions: readonly LoggedVersion[] | undefined) => (versions ?? []).map(({ version }) => version);
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

test('every version of every stream that matches, in order, streams that begin later too', async () => {
  for (let n = 0; n < 5; n++) await append('gateway/f1', 'thing/x', n);
  await append('other/f1', 'thing/x', 0);
  const { follower, seen } = following({ streams: 'gateway/f1%' });
  await follower.caughtUp();
  await append('gateway/f1-later', 'thing/y', 7);
  await append('gateway/f1', 'thing/x', 5);
  await follower.caughtUp();
  expect(numbers(seen.get('gateway/f1'))).toEqual(upTo(6));
  expect(seen.get('gateway/f1-later')).toMatchObject([
    {
      version: 1,
      action: 'PutThing',
      actor: 'token/t1',
      reason: 'n7',
      events: [{ subject: 'thing/y', subjectVersion: 1, state: { n: 7 }, index: 0 }],
    },
  ]);
  expect([...seen.keys()]).not.toContain('other/f1');
  expect(follower.position('gateway/f1')).toBe(6);
});

test('resumes after the cursor that it is given', async () => {
  for (let n = 0; n < 4; n++) await append('gateway/f2', 'thing/x', n);
  const { follower, seen } = following({ streams: 'gateway/f2', start: async () => 3 });
  await follower.caughtUp();
  expect(numbers(seen.get('gateway/f2'))).toEqual([4]);
});

test('a notification wakes it long before the timer; without one the timer finds it', async () => {
  await append('gateway/f3', 'thing/x', 0);
  const wake = createWake(log.test.url);
  closing.push(wake);
  const woken = following({ streams: 'gateway/f3', wake, pollMs: 600_000 });
  const polling = following({ streams: 'gateway/f3', pollMs: 20 });
  await Promise.all([woken.follower.caughtUp(), polling.follower.caughtUp()]);
  await append('gateway/f3', 'thing/x', 1);
  await until(() => woken.follower.position('gateway/f3') === 2 && polling.follower.position('gateway/f3') === 2);
});

test('a failing apply is brought the same versions again, and its stream alone waits', async () => {
  for (let n = 0; n < 3; n++) await append('gateway/f4-bad', 'thing/x', n);
  await append('gateway/f4-good', 'thing/x', 0);
  const attempts: number[][] = [];
  const { follower, errors } = following({
    streams: 'gateway/f4%',
    apply: async ({ stream, versions }) => {
      if (stream !== 'gateway/f4-bad') return;
      attempts.push(numbers(versions));
      if (attempts.length < 3) throw new Error('not now');
    },
  });
  await follower.caughtUp();
  expect(attempts).toEqual([upTo(3), upTo(3), upTo(3)]);
  expect(errors).toHaveLength(2);
});

test('a gap in the log stops it loudly instead of being stepped over', async () => {
  for (let n = 0; n < 5; n++) await append('gateway/f5', 'thing/x', n);
  await log.asAdmin('ALTER TABLE chancery.version DISABLE TRIGGER USER');
  await log.asAdmin("DELETE FROM chancery.version WHERE stream = 'gateway/f5' AND version = 3");
  await log.asAdmin('ALTER TABLE chancery.version ENABLE TRIGGER USER');
  const { follower, seen, errors } = following({ streams: 'gateway/f5', start: async () => 1 });
  await until(() => errors.length > 0);
  expect(errors[0]).toMatchObject({ message: expect.stringContaining('version 4 follows 2: the log has a gap') });
  expect(seen.size).toBe(0);
  expect(follower.position('gateway/f5')).toBe(1);
});

test('a log that was set back behind the cursor is reported', async () => {
  await append('gateway/f6', 'thing/x', 0);
  const { errors } = following({ streams: 'gateway/f6', start: async () => 9 });
  await until(() => errors.length > 0);
  expect(errors[0]).toMatchObject({ message: expect.stringContaining('set back') });
});

test('while backends are killed and 16 writers write, nothing is missed or brought twice to a cursor that shares the effect’s transaction', async () => {
  const stream = 'gateway/f7';
  await log.asAdmin(
    'CREATE TABLE chancery.applied (stream text, version bigint PRIMARY KEY); CREATE TABLE chancery.cursor (stream text PRIMARY KEY, version bigint)',
  );
  await log.asAdmin('GRANT ALL ON chancery.applied, chancery.cursor TO chancery_app');
  const wake = createWake(log.test.url);
  closing.push(wake);
  const { follower } = following({
    streams: stream,
    wake,
    start: async () =>
      Number((await log.asAdmin<{ version: string }>('SELECT version FROM chancery.cursor WHERE stream = $1', [stream]))[0]?.version ?? 0),
    apply: async ({ versions }) => {
      const client = await log.database.pool.connect();
      let failure: Error | undefined;
      try {
        await client.query('BEGIN');
        const { rows } = await client.query<{ version: number }>('SELECT version FROM chancery.cursor WHERE stream = $1 FOR UPDATE', [
          stream,
        ]);
        const cursor = rows[0]?.version ?? 0;
        for (const { version } of versions)
          if (version > cursor) await client.query('INSERT INTO chancery.applied VALUES ($1, $2)', [stream, version]);
        await client.query('INSERT INTO chancery.cursor VALUES ($1, $2) ON CONFLICT (stream) DO UPDATE SET version = excluded.version', [
          stream,
          versions.at(-1)!.version,
        ]);
        await client.query('COMMIT');
      } catch (error) {
        failure = error as Error;
        throw error;
      } finally {
        client.release(failure);
      }
    },
  });
  let writing = true;
  const killer = (async () => {
    while (writing) {
      await log.asAdmin(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'chancery_app' AND random() < 0.3",
      );
      await sleep(15);
    }
  })();
  await Promise.all(
    Array.from({ length: 16 }, async (_, caller) => {
      for (let n = 0; n < 20; n++) await append(stream, `thing/${caller}`, n).catch(() => undefined); // an unknown outcome is fine here: the log is the judge
    }),
  );
  writing = false;
  await killer;
  await follower.caughtUp();
  const [head] = await log.asAdmin<{ version: string }>('SELECT version FROM chancery.stream WHERE stream = $1', [stream]);
  const applied = await log.asAdmin<{ version: string }>('SELECT version FROM chancery.applied ORDER BY version');
  expect(Number(head!.version)).toBeGreaterThan(100);
  expect(applied.map(({ version }) => Number(version))).toEqual(upTo(Number(head!.version)));
}, 60_000);

test('close waits for the batch under way and brings no other', async () => {
  await append('gateway/f8', 'thing/x', 0);
  let began = 0;
  let ended = 0;
  const { follower } = following({
    streams: 'gateway/f8',
    apply: async () => {
      began += 1;
      await sleep(50);
      ended += 1;
    },
  });
  await until(() => began === 1);
  await follower.close();
  expect([began, ended]).toEqual([1, 1]);
  await append('gateway/f8', 'thing/x', 1);
  expect(began).toBe(1);
});

import { afterEach, expect, jest, test } from '@jest/globals';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';

import { startRedis, type TestRedis } from '../support/redis.js';
import { FaultHouse } from './fault-house.js';

jest.setTimeout(120_000);

let house: FaultHouse;
let redis: TestRedis | undefined;
afterEach(async () => {
  await house?.close();
  await redis?.stop();
  redis = undefined;
});

async function inRedis<T>(work: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(redis?.url ?? '');
  try {
    return await work(client);
  } finally {
    client.disconnect();
  }
}

test('F9: while the events are locked every call is answered in time, and afterwards all is recorded and live', async () => {
  house = await FaultHouse.start();
  house.startTraffic();
  const lock = await house.superuser();
  await house.fault('the events are locked', async () => {
    await lock.query('BEGIN');
    await lock.query('LOCK TABLE chancery.event IN ACCESS EXCLUSIVE MODE');
    // One that ends in the lock, with what it is told; the next one goes on after it.
    await house.writeOnce();
    await lock.query('COMMIT');
  });
  await lock.end();
  await house.converged(await house.write());
  const { violations, checked } = await house.finish();
  expect(violations).toEqual([]);
  expect(checked.I16).toBeGreaterThanOrEqual(3);
});

test('F12: FLUSHALL and a Redis that dies without anything kept change nothing', async () => {
  redis = await startRedis();
  house = await FaultHouse.start({ redisUrl: redis.url });
  house.startTraffic();
  await house.fault('Redis forgets everything, again and again', async () => {
    for (let i = 0; i < 5; i++) {
      const writing = house.write();
      await inRedis((client) => client.flushall());
      await writing;
      await inRedis((client) => client.flushall());
    }
    await redis?.kill();
    await house.converged(await house.write()); // the queue is not on the way of a live change
    await redis?.start();
  });
  await house.converged(await house.write());
  expect((await house.finish()).violations).toEqual([]);
});

test('F15: jobs that are doubled, ancient, of nobody or of no sense are looked at and do nothing', async () => {
  redis = await startRedis();
  house = await FaultHouse.start({ redisUrl: redis.url });
  house.startTraffic();
  const before = house.node('a').releases().length;
  const names = await inRedis(async (client) => (await client.keys('bull:*:meta')).map((key) => key.split(':')[1] ?? ''));
  expect(names.length).toBeGreaterThan(0);
  await house.fault('jobs that nobody asked for', async () => {
    for (const name of names) {
      const queue = new Queue(name, { connection: { url: redis?.url ?? '' } });
      const wait = { removeOnComplete: true, removeOnFail: true, attempts: 1 };
      for (let i = 0; i < 10; i++) await queue.add('look', { target: 'a' }, wait);
      await queue.add('look', { target: 'nobody' }, wait);
      await queue.add('look', { target: 'a', version: 1, timestamp: 0 }, { ...wait, timestamp: 1 });
      await queue.add('look', { target: { $ne: null } }, wait);
      await queue.add('no such thing', 'x'.repeat(10_000), wait);
      await queue.add('look', null, wait);
      await house.until('they are gone', async () => {
        const counts = await queue.getJobCounts('waiting', 'active', 'prioritized', 'delayed');
        return Object.values(counts).every((count) => count === 0);
      });
      await queue.close();
    }
  });
  expect(house.node('a').releases().length).toBe(before);
  expect(house.worker(0).process.isRunning).toBe(true);
  await house.converged(await house.write());
  expect((await house.finish()).violations).toEqual([]);
});

test('F16: while Postgres cannot be reached traffic goes on and calls are answered; then everything catches up by itself', async () => {
  house = await FaultHouse.start();
  house.startTraffic();
  for (const mode of ['cut', 'silent'] as const) {
    await house.fault(`Postgres is away: ${mode}`, async () => {
      house.databaseLine?.set(mode);
      await house.writeOnce();
      house.databaseLine?.set('cut'); // what was held is not to come out as if nothing had been
      house.databaseLine?.set('pass');
    });
    await house.converged(await house.write(60_000));
  }
  const { violations, checked } = await house.finish();
  expect(violations).toEqual([]);
  expect(checked.I16).toBeGreaterThanOrEqual(4);
});

test('F16: what begins while Postgres cannot be reached is there when it can, and was started once', async () => {
  house = await FaultHouse.start();
  house.startTraffic();
  await house.worker(0).process.kill();
  await house.fault('Postgres is away when the others begin', async () => {
    house.databaseLine?.set('cut');
    const before = house.processes.length;
    const begun = Promise.all([house.startApi(), house.startProjector(), house.startWorker()]);
    const tried = () => house.processes.slice(before).filter(({ log }) => /"level":(40|50)/.test(log));
    await house.until('each has tried', () => tried().length === 3);
    expect(tried().map(({ isRunning }) => isRunning)).toEqual([true, true, true]);
    house.databaseLine?.set('pass');
    await begun;
    house.node('a').line.aim(() => house.worker(1).port);
  });
  await house.converged(await house.write());
  expect((await house.finish()).violations).toEqual([]);
});

test('F41: a version whose commit takes long hides none of those that wait for it', async () => {
  house = await FaultHouse.start();
  house.startTraffic();
  const slow = await house.superuser();
  await house.fault('a transaction holds the head', async () => {
    await slow.query('BEGIN');
    await slow.query("SELECT version FROM chancery.stream WHERE stream = 'gateway/default' FOR UPDATE");
    const names = Array.from({ length: 5 }, (_, i) => `waiting-${i}`);
    const writes = names.map((name) =>
      house.must(`/mappings/${name}`, { method: 'PUT', body: { prefix: `/${name}/`, service: `127.0.0.1:${house.echoPort}` } }),
    );
    await house.until('they wait for it', async () => {
      await slow.query('SELECT pg_stat_clear_snapshot()'); // within a transaction it would be what it was at the first look
      const { rows } = await slow.query("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
      return rows.length > 0;
    });
    await slow.query('COMMIT');
    await Promise.all(writes);
    for (const name of names) await house.until(`${name} is served`, () => house.serves('a', `/${name}/x`));
  });
  await slow.end();
  await house.converged(await house.write());
  expect((await house.finish()).violations).toEqual([]);
});

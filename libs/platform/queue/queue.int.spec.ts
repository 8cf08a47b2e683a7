import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Queue as BullQueue, createPostgresBackend } from 'bullmq';
import pg from 'pg';

import { createLog } from '#platform/log/log.js';

import { startRedis, type TestRedis } from '../../../test/support/redis.js';
import { createTestDatabase, type TestDatabase } from '../../../test/support/test-database.js';
import { type Look, type OpenQueueOptions, openQueue, type Queue } from './queue.js';

jest.setTimeout(60_000);

const log = createLog({ process: 'spec', level: process.env.CHANCERY_TEST_LOG ?? 'silent' });
let database: TestDatabase;
let redis: TestRedis;
const opened: Queue[] = [];
let count = 0;

beforeAll(async () => {
  database = await createTestDatabase();
  redis = await startRedis();
});
afterEach(async () => {
  for (const queue of opened.splice(0)) await queue.close(200);
});
afterAll(async () => {
  await redis.stop();
  await database.drop();
});

async function eventually(what: string, condition: () => boolean | Promise<boolean>, deadlineMs = 20_000): Promise<void> {
  const endsAt = Date.now() + deadlineMs;
  while (!(await condition())) {
    if (Date.now() > endsAt) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A processor that a test holds back and lets go. */
function gate() {
  const looks: Look[] = [];
  const waiting: (() => void)[] = [];
  let held = true;
  return {
    looks,
    processor: async (look: Look) => {
      looks.push(look);
      if (held) await new Promise<void>((resolve) => waiting.push(resolve));
    },
    release: () => {
      held = false;
      for (const resolve of waiting.splice(0)) resolve();
    },
  };
}

describe.each(['postgres', 'redis'] as const)('the queue on %s', (backend) => {
  const open = async (more: Partial<OpenQueueOptions> = {}, name = `q${count++}`): Promise<Queue> => {
    const options = {
      databaseUrl: database.url,
      redisUrl: backend === 'redis' ? redis.url : undefined,
      log,
      lockMs: 1_000,
      backoffMs: 20,
      name,
      ...more,
    };
    const queue = await openQueue(options);
    opened.push(queue);
    return queue;
  };
  /** The library's own handle on the same queue: what an attacker or an old version could add. */
  const openRaw = (name: string) => {
    if (backend === 'redis')
      return { queue: new BullQueue(name, { connection: { url: redis.url } as never }), close: async () => undefined };
    const pool = new pg.Pool({ connectionString: database.url, options: '-c search_path=bullmq', max: 2 });
    return { queue: new BullQueue(name, { connection: pool as never }, createPostgresBackend as never), close: () => pool.end() };
  };

  test('what is added while a job runs makes exactly one more run', async () => {
    const queue = await open();
    const { looks, processor, release } = gate();
    queue.work(processor);
    await queue.add('edge-1');
    await eventually('the first run', () => looks.length === 1);
    for (let i = 0; i < 100; i++) await queue.add('edge-1');
    release();
    await eventually('the second run', () => looks.length === 2);
    await eventually('nothing is left', async () => Object.values(await queue.counts()).every((n) => n === 0));
    expect(looks.map(({ target }) => target)).toEqual(['edge-1', 'edge-1']);
  });

  test('targets do not wait for each other', async () => {
    const queue = await open();
    const { looks, processor, release } = gate();
    queue.work(processor);
    for (const target of ['a', 'b', 'c']) await queue.add(target);
    await eventually('all three run at once', () => looks.length === 3);
    release();
  });

  test('a failed job comes again after a while, with its count of attempts', async () => {
    const queue = await open();
    const attempts: number[] = [];
    queue.work(async ({ attempt }) => {
      attempts.push(attempt);
      if (attempt < 4) throw new Error('not yet');
    });
    await queue.add('edge-1');
    await eventually('the fourth attempt', () => attempts.length === 4);
    expect(attempts).toEqual([1, 2, 3, 4]);
    await queue.add('edge-1');
    await eventually('it can be asked for again', () => attempts.length === 5);
  });

  test('a hurry wakes a job that waits for its next attempt', async () => {
    const queue = await open({ backoffMs: 60_000 });
    const attempts: number[] = [];
    queue.work(async ({ attempt }) => {
      attempts.push(attempt);
      if (attempts.length === 1) throw new Error('the old render');
    });
    await queue.add('edge-1');
    await eventually('it failed', async () => (await queue.counts()).delayed === 1);
    await queue.add('edge-1');
    expect(attempts).toHaveLength(1);
    await queue.add('edge-1', { hurry: true });
    await eventually('it runs at once', () => attempts.length === 2, 5_000);
  });

  test('a job of a worker that vanished is taken up by another', async () => {
    const name = `q${count++}`;
    const dead = await open({}, name);
    const held = gate();
    dead.work(held.processor);
    await dead.add('edge-1');
    await eventually('it runs', () => held.looks.length === 1);
    await dead.close(0); // its lock is left to expire, as after kill -9
    opened.splice(opened.indexOf(dead), 1);
    const other = await open({}, name);
    const { looks, processor, release } = gate();
    other.work(processor);
    await eventually('the other takes it', () => looks.length === 1);
    release();
    held.release();
  });

  test('jobs that are not ours fail at once and stop nobody', async () => {
    const name = `q${count++}`;
    const queue = await open({}, name);
    const looks: Look[] = [];
    queue.work(async (look) => void looks.push(look));
    const raw = openRaw(name);
    const hostile: [string, unknown][] = [
      ['look', {}],
      ['look', null],
      ['look', { target: '../../etc/passwd' }],
      ['look', { target: 5 }],
      ['look', { target: 'x'.repeat(5_000) }],
      ['look', { target: { $ne: '' } }],
      ['drop', { target: 'edge-1' }],
    ];
    for (const [job, data] of hostile) await raw.queue.add(job, data as never);
    await queue.add('edge-1');
    await eventually('the good one runs', () => looks.length === 1);
    await eventually('the others have failed', async () => (await queue.counts()).failed === hostile.length);
    expect(looks).toEqual([{ target: 'edge-1', attempt: 1 }]);
    await raw.queue.close();
    await raw.close();
  });

  test('an emptied queue takes jobs again', async () => {
    const name = `q${count++}`;
    const queue = await open({}, name);
    const { looks, processor, release } = gate();
    queue.work(processor);
    await queue.add('edge-1');
    await eventually('it runs', () => looks.length === 1);
    const raw = openRaw(name);
    await raw.queue.obliterate({ force: true });
    await raw.queue.close();
    await raw.close();
    release();
    await queue.forget('edge-1');
    await eventually('a new one runs', async () => {
      await queue.add('edge-1');
      return looks.length >= 2;
    });
  });

  test('a job that nobody finishes does not keep another from coming once the queue has forgotten it', async () => {
    const queue = await open({ lockMs: 60_000 });
    const { looks, processor, release } = gate();
    queue.work(processor);
    await queue.add('edge-1');
    await eventually('it runs', () => looks.length === 1);
    await queue.forget('edge-1');
    await queue.add('edge-1');
    await eventually('the other runs beside it', () => looks.length === 2);
    release();
  });

  test('only names of targets are taken', async () => {
    const queue = await open();
    await expect(queue.add('a:b')).rejects.toThrow(RangeError);
    await expect(queue.add('')).rejects.toThrow(RangeError);
  });
});

test('a Redis that may evict is refused', async () => {
  const evicting = await startRedis({ maxmemoryPolicy: 'allkeys-lru' });
  try {
    await expect(openQueue({ databaseUrl: database.url, redisUrl: evicting.url, log })).rejects.toMatchObject({ code: 'redis_may_evict' });
  } finally {
    await evicting.stop();
  }
});

test('a Redis that dies and comes back empty: adding fails at once meanwhile, and works after', async () => {
  const server = await startRedis();
  const queue = await openQueue({ databaseUrl: database.url, redisUrl: server.url, log, lockMs: 1_000 });
  opened.push(queue);
  const looks: Look[] = [];
  queue.work(async (look) => void looks.push(look));
  await queue.add('edge-1');
  await eventually('it runs', () => looks.length === 1);
  await server.kill();
  await expect(queue.add('edge-1')).rejects.toThrow();
  await server.start();
  await eventually('it runs again', async () => {
    await queue.add('edge-1').catch(() => undefined); // not yet connected again
    return looks.length >= 2;
  });
  await queue.close(200);
  opened.splice(opened.indexOf(queue), 1);
  await server.stop();
});

test('a queue whose database connections are cut goes on by itself', async () => {
  const queue = await openQueue({ databaseUrl: database.url, log, lockMs: 1_000, name: `q${count++}` });
  opened.push(queue);
  const looks: Look[] = [];
  queue.work(async (look) => void looks.push(look));
  await queue.add('edge-1');
  await eventually('it runs', () => looks.length === 1);
  const admin = new pg.Client({ connectionString: database.adminUrl });
  await admin.connect();
  await admin.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'chancery-queue' and datname = current_database()`,
  );
  await admin.end();
  await eventually('it runs again', async () => {
    await queue.add('edge-1').catch(() => undefined); // a connection that was cut may still be handed out once
    return looks.length >= 2;
  });
});

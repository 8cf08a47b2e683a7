import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { Redis } from 'ioredis';

import { isServiceKnown } from '#features/discovery/known-services.table.js';
import { readTarget } from '#features/rollout/target.table.js';

import { startRedis } from '../../../test/support/redis.js';
import { eventually, WorkerFixture } from './worker.fixture.js';

jest.setTimeout(60_000);

let fixture: WorkerFixture;
afterEach(() => fixture.close());

const proven = (version: number) => async () => (await readTarget(fixture.database.db, 'default', 'edge-1'))?.provenVersion === version;

describe('a worker with its queue in Redis', () => {
  test('a Redis that is emptied, stopped and started loses no change', async () => {
    const redis = await startRedis();
    try {
      fixture = await WorkerFixture.open();
      const worker = await fixture.startWorker('w1', { redisUrl: redis.url });
      const agent = fixture.agent({ restartMs: 20 });
      await agent.connect(worker.port);
      await eventually('live', proven(1));
      const client = new Redis(redis.url);
      client.on('error', () => undefined); // it is killed below
      let version = 0;
      for (let i = 0; i < 5; i++) {
        version = await fixture.putMapping(`m${i}`);
        await client.flushall();
      }
      await eventually('live though the queue was emptied', proven(version));
      client.disconnect();
      await redis.kill();
      version = await fixture.putMapping('without');
      await eventually('live without the queue', proven(version));
      await redis.start();
      version = await fixture.putMapping('with');
      await eventually('live with the queue again', proven(version));
      await fixture.stopWorker(worker);
    } finally {
      await redis.stop();
    }
  });
});

describe('the services file', () => {
  test('a service that is written into it goes live; a broken file keeps the last good one and is reported', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'chancery-services-'));
    const path = join(folder, 'services.yaml');
    try {
      await writeFile(path, 'services: {}\n');
      fixture = await WorkerFixture.open();
      const worker = await fixture.startWorker('w1', { servicesFile: path, statusListen: { host: '127.0.0.1', port: 0 } });
      const agent = fixture.agent();
      await agent.connect(worker.port);
      const version = await fixture.putMapping('file', { service: 'filesvc' });
      await eventually('live', proven(version));
      const restarts = agent.restarts.length;
      const has = (text: string) => [...agent.files.values()].some(({ json }) => json.toString().includes(text));
      await writeFile(path, "services: {filesvc: ['127.0.0.1:9107']}\n");
      await eventually('its endpoints are there', () => has('9107'));
      await eventually(
        'it is known for the next mapping',
        async () => (await isServiceKnown(fixture.database.db, 'default', { host: 'filesvc', port: 80 })) === true,
      );

      const ready = async () =>
        (await fetch(`http://127.0.0.1:${worker.statusPort}/readyz`)).json() as Promise<{ checks: Record<string, string> }>;
      await writeFile(path, "services: {filesvc: ['nonsense']}\n");
      await eventually('it is reported', async () => (await ready()).checks.services_file?.includes('nonsense') === true);
      expect(has('9107')).toBe(true);
      await writeFile(path, "services: {filesvc: ['127.0.0.1:9108', '169.254.169.254:80']}\n");
      await eventually('the next good one counts, without what may not be an upstream', () => has('9108'));
      expect(has('169.254')).toBe(false);
      expect(agent.restarts).toHaveLength(restarts);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  test('metrics have the names that are promised', async () => {
    fixture = await WorkerFixture.open();
    const worker = await fixture.startWorker('w1', { statusListen: { host: '127.0.0.1', port: 0 } });
    const agent = fixture.agent();
    await agent.connect(worker.port);
    const version = await fixture.putMapping('user');
    await eventually('live', proven(version));
    const text = await (await fetch(`http://127.0.0.1:${worker.statusPort}/metrics`)).text();
    expect(text).toContain(`chancery_config_version{gateway="default"} ${version}`);
    expect(text).toContain(`chancery_config_live_version{gateway="default"} ${version}`);
    expect(text).toContain('chancery_xds_connected{gateway="default"} 1');
    expect(text).toContain('chancery_set_aside_mappings{gateway="default"} 0');
    expect(text).toMatch(/chancery_xds_ack_total\{gateway="default",type_url="[^"]*Manifest",result="ack"\} [12]/);
    expect(text).toContain('chancery_redeploy_duration_seconds_count{result="proven"}');
    expect(text).toContain('chancery_propagation_seconds_count');
  });
});

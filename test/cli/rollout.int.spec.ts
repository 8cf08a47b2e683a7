import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, it, jest } from '@jest/globals';

import { holdPush } from '#features/promotion/hold.js';
import { noTraffic, takeStep } from '#features/promotion/wave.js';
import { sqlQuery } from '#platform/database/database.js';
import type { NewEvent, View } from '#platform/eventstore/event-store.js';

import { startTestApi, type TestApi } from '../../apps/api/test-api.js';
import { buildCommand, type Ran, runCommand } from './command.fixture.js';

// Each command is a process of its own, and the machine may be busy.
jest.setTimeout(60_000);

let test: TestApi;
let home: string;
beforeAll(async () => {
  buildCommand();
  test = await startTestApi();
  home = mkdtempSync(join(tmpdir(), 'chancery-home-'));
  await sqlQuery(
    test.api.database.db,
    `INSERT INTO chancery.target (name, gateway) VALUES ('edge-1', 'default'), ('edge-2', 'default')`,
    [],
  );
});
afterAll(async () => {
  await test?.close();
  if (home !== undefined) rmSync(home, { recursive: true, force: true });
});

const rollout = (...args: string[]): Promise<Ran> =>
  runCommand(['rollout', ...args], { env: { HOME: home, CHANCERY_API: test.api.url, CHANCERY_TOKEN: test.token } });
const done = async (...args: string[]): Promise<string> => {
  const ran = await rollout(...args);
  expect([args, ran.status, ran.stderr]).toEqual([args, 0, '']);
  return ran.stdout;
};
const record = (subjects: string[], decide: (view: View) => NewEvent[]) =>
  test.api.events.handle(
    { stream: 'rollout/default', subjects, context: { commandId: randomUUID(), action: 'Test', actor: 'system' } },
    decide,
  );

it('shows how it stands, and freezes, unfreezes, pins and unpins', async () => {
  expect(await done('status')).toMatch(
    /^state +immediate\nstrategy +immediate\nnewest +1\nreleased +1\n\nTARGET [\s\S]*\nedge-2 .*immediate\n$/,
  );
  expect(await done('freeze', '--reason', 'sale', '--dry-run')).toContain('1 change');
  expect(await done('freeze', '--reason', 'sale')).toMatch(/^state +frozen[\s\S]*frozen +at version 1 since .*: sale\n/);
  expect(await done('unfreeze', '--reason', 'over')).toMatch(/^state +immediate/);
  expect(await done('pin', 'edge-1', '1', '--reason', 'old kernel')).toMatch(/edge-1 .*pinned: old kernel\n/);
  expect(JSON.parse(await done('status', '-o', 'json')).pins).toMatchObject([{ target: 'edge-1', version: 1 }]);
  expect(await done('unpin', 'edge-1')).not.toContain('pinned');
  expect((await rollout('freeze')).status).toBe(2);
  expect((await rollout('pin', 'nobody', '1', '--reason', 'x')).status).toBe(2);
  expect((await rollout('unfreeze', '--reason', 'x')).status).toBe(5);
});

it('halts, resumes and promotes, and confirms a held push', async () => {
  await test.ask('PATCH', '/v1/gateways/default/settings', { body: { rollout: { strategy: 'waves' } } }); // 2
  await record(['wave', 'freeze'], takeStep({ kind: 'start', version: 2, from: 1, targets: ['edge-1'], head: 2, baseline: noTraffic }, 0));
  expect(await done('status')).toMatch(/wave +version 2 after 1: advancing, canary \(edge-1\), waiting for its proof since /);
  expect(await done('halt', '--reason', 'slow')).toMatch(/^state +halted[\s\S]*because +slow\n/);
  expect(await done('resume', '--reason', 'it was the database')).toMatch(/^state +waiting/);
  expect(await done('promote', '2', '--reason', 'seen it work')).toMatch(/^state +settled/);
  expect((await rollout('promote', '1', '--reason', 'x')).status).toBe(2);
  await record(['hold'], holdPush(2, { id: 'abc', limitPercent: 30, losses: [{ kind: 'routes', before: 20, lost: 9, names: ['user'] }] }));
  expect(await done('status')).toMatch(
    /hold +abc, version 2: held\n {2}routes +9 of 20 would go: user\nMay it lose them\? chancery rollout confirm abc/,
  );
  expect(await done('confirm', 'abc', '--reason', 'meant')).toMatch(/hold +abc, version 2: confirmed\n/);
});

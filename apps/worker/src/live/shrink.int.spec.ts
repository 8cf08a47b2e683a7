import { randomUUID } from 'node:crypto';

import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';

import { confirmPush } from '#features/promotion/hold.js';
import type { HoldState } from '#features/promotion/promotion.js';
import { readTarget } from '#features/rollout/target.table.js';
import { readSubject } from '#platform/eventstore/read-log.js';
import { SCOPED_ROUTE_TYPE } from '#platform/xds/xds-resource.js';

import type { ScriptedAgent } from '../scripted-agent.fixture.js';
import { eventually, WorkerFixture } from '../worker.fixture.js';
import type { RunningWorker } from '../worker.js';

jest.setTimeout(60_000);

let fixture: WorkerFixture;
let worker: RunningWorker;
let agent: ScriptedAgent;
afterEach(() => fixture.close());

const names = Array.from({ length: 12 }, (_, i) => `m${i + 10}`);
const services = { usersvc: ['127.0.0.1:9001'] };

/** Twelve mappings that are live on one target. */
beforeEach(async () => {
  fixture = await WorkerFixture.open({ delivery: 'live', services });
  worker = await fixture.startWorker('w1');
  agent = fixture.agent();
  await agent.connect(worker.port);
  let version = 0;
  for (const name of names) version = await fixture.putMapping(name);
  await eventually('all are live', proven(version));
  await eventually(
    'what is served is noted',
    async () => (await fixture.query<{ version: number }>('select version from chancery.inventory'))[0]?.version === version,
  );
});

const proven = (version: number) => async () => (await readTarget(fixture.database.db, 'default', 'edge-1'))?.provenVersion === version;
const hold = async () => (await readSubject(fixture.database.db, 'rollout/default', 'hold')).state as HoldState | null;
const isHeld = async () => (await hold())?.state === 'held';
const serves = (name: string) => agent.live.holds(SCOPED_ROUTE_TYPE, `/${name}/`);
/** Ends mappings in one version. */
const end = async (gone: readonly string[], action: string): Promise<number> => {
  const subjects = gone.map((name) => `mapping/${name}`);
  const outcome = await fixture.events.handle(
    { stream: 'gateway/default', subjects, context: { commandId: randomUUID(), action, actor: 'token/spec' } },
    () => subjects.map((subject) => ({ type: 'MappingDeleted', schemaVersion: 1, subject, state: null })),
  );
  return outcome.version;
};
const confirm = (id: string | undefined) =>
  fixture.events.handle(
    { stream: 'rollout/default', subjects: ['hold'], context: { commandId: randomUUID(), action: 'ConfirmPush', actor: 'token/spec' } },
    confirmPush(id, { by: 'token/spec', reason: 'meant' }),
  );
const settings = async () => (await readSubject(fixture.database.db, 'gateway/default', 'gateway')).state;

test('what an import leaves out is held until it is confirmed; what was written meanwhile waits with it', async () => {
  const version = await end(names.slice(4), 'ImportConfiguration');
  await eventually('it is held', isHeld);
  expect(await hold()).toMatchObject({ version, limitPercent: 30, losses: [{ kind: 'routes', before: 12, lost: 8 }] });
  expect(serves('m20')).toBe(true);
  const later = await fixture.putMapping('later');
  await confirm((await hold())?.id);
  await eventually('it goes out', proven(later));
  expect([serves('m20'), serves('m10'), serves('later')]).toEqual([false, true, true]);
});

test('what a command names is the order itself, the last one too', async () => {
  await end(names.slice(1), 'ApplyChangeset');
  const version = await end(names.slice(0, 1), 'DeleteMapping');
  await eventually('all are gone', proven(version));
  expect(names.some(serves)).toBe(false);
  expect(await hold()).toBeNull();
});

test('services whose instances vanish keep the ones that they had, and the hold ends with its cause', async () => {
  await fixture.append('gateway', 'GatewayConfigured', { ...(await settings()), services: {} });
  await eventually('it is held', isHeld);
  expect((await hold())?.losses).toMatchObject([{ kind: 'routes', before: 12, lost: 12 }]);
  const version = await fixture.append('gateway', 'GatewayConfigured', { ...(await settings()), services });
  await eventually('it goes out', proven(version));
  await eventually('the hold is ended', async () => (await hold()) === null);
});

test('a worker that starts anew knows what was served, and what was ordered since', async () => {
  await fixture.stopWorker(worker);
  await end(names.slice(0, 2), 'DeleteMapping');
  await end(names.slice(6), 'ImportConfiguration');
  const next = await fixture.startWorker('w2');
  await agent.connect(next.port);
  await eventually('it is held', isHeld);
  expect((await hold())?.losses).toMatchObject([{ kind: 'routes', before: 12, lost: 6, names: names.slice(6) }]);
  expect(serves('m20')).toBe(true);
  await confirm(undefined);
  await eventually('it goes out', () => !serves('m20') && !serves('m10') && serves('m13'));
});

test('a small loss is nobody’s business', async () => {
  const version = await end(names.slice(9), 'ImportConfiguration');
  await eventually('it is live', proven(version));
  expect(await hold()).toBeNull();
});

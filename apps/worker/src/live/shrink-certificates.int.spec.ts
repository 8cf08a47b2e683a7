import { rmSync } from 'node:fs';
import { afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';

import { confirmPush } from '#features/promotion/hold.js';
import type { HoldState } from '#features/promotion/promotion.js';
import { readTarget } from '#features/rollout/target.table.js';
import { createAuthority, type TestAuthority } from '#platform/envoy/certificates.fixture.js';
import { readSubject } from '#platform/eventstore/read-log.js';
import { KeyFile } from '#platform/vault/key-file.js';
import { SCOPED_ROUTE_TYPE, SECRET_TYPE } from '#platform/xds/xds-resource.js';
import type { ScriptedAgent } from '../scripted-agent.fixture.js';
import { makeKeyFile, putCertificate } from '../secrets/certificate.fixture.js';
import { eventually, WorkerFixture } from '../worker.fixture.js';
import type { RunningWorker } from '../worker.js';

jest.setTimeout(60_000);

const names = Array.from({ length: 12 }, (_, i) => `c${i + 10}`);
const https = { address: '127.0.0.1', port: 10_443 };
const tuning = { sweepMs: 200 };

let authority: TestAuthority;
let fixture: WorkerFixture;
let worker: RunningWorker;
let agent: ScriptedAgent;
let keyFile: ReturnType<typeof makeKeyFile>;

beforeAll(async () => {
  authority = await createAuthority();
});

/** Twelve certificates that are live on one target. */
beforeEach(async () => {
  keyFile = makeKeyFile();
  fixture = await WorkerFixture.open({ delivery: 'live' });
  worker = await fixture.startWorker('w1', { keys: new KeyFile(keyFile.path), tuning });
  agent = fixture.agent({ https });
  await agent.connect(worker.port);
  let version = 0;
  for (const name of names)
    ({ version } = await putCertificate({ fixture, authority, keyPath: keyFile.path }, { name, dns: [`${name}.example.com`] }));
  await eventually('all are live', proven(version));
  const noted = () =>
    fixture.query<{ version: number; without: string[] }>('select version, unserved_certificates as without from chancery.inventory');
  await eventually('what is served is noted', async () => {
    const [row] = await noted();
    return row?.version === version && row.without.length === 0;
  });
});
afterEach(async () => {
  await fixture.close();
  rmSync(keyFile.folder, { recursive: true, force: true });
});

const proven = (version: number) => async () => (await readTarget(fixture.database.db, 'default', 'edge-1'))?.provenVersion === version;
const hold = async () => (await readSubject(fixture.database.db, 'rollout/default', 'hold')).state as HoldState | null;
const serves = (name: string) => agent.live.set.get({ typeUrl: SECRET_TYPE, name: `certificate-${name}` }) !== undefined;

test('a worker that finds keys gone which nodes may have lost too does not take their certificates away before somebody confirms it', async () => {
  await fixture.stopWorker(worker);
  const lost = names.slice(0, 8);
  await fixture.query('delete from chancery.secret where name = any ($1)', [lost]);
  await fixture.query('delete from chancery.delivered_secret');
  const next = await fixture.startWorker('w2', { keys: new KeyFile(keyFile.path), tuning });
  await agent.connect(next.port);
  await eventually('it is held', async () => (await hold())?.state === 'held');
  expect((await hold())?.losses).toMatchObject([{ kind: 'certificates', before: 12, lost: 8, names: lost }]);
  const later = await fixture.putMapping('later');
  expect([names.every(serves), agent.live.holds(SCOPED_ROUTE_TYPE, '/later/')]).toEqual([true, false]);
  const context = { commandId: crypto.randomUUID(), action: 'ConfirmPush', actor: 'token/spec' };
  const decide = confirmPush((await hold())?.id, { by: 'token/spec', reason: 'meant' });
  await fixture.events.handle({ stream: 'rollout/default', subjects: ['hold'], context }, decide);
  await eventually('it goes out', proven(later));
  expect(names.filter(serves)).toEqual(names.slice(8));
});

test('what a command names is the order itself, the last one too', async () => {
  let version = 0;
  for (const name of names) version = await fixture.append(`certificate/${name}`, 'CertRemoved', null);
  await eventually('all are gone', proven(version));
  expect([names.some(serves), await hold()]).toEqual([false, null]);
});

import { randomUUID } from 'node:crypto';

import { afterEach, describe, expect, jest, test } from '@jest/globals';
import pg from 'pg';

import { listDeployments } from '#features/rollout/deployment.table.js';
import { recoverLineage } from '#features/rollout/lineage.table.js';
import { listMappingStatus } from '#features/rollout/mapping-status.table.js';
import { takeStep } from '#features/rollout/push.table.js';
import { readRedeployment } from '#features/rollout/redeployment.table.js';
import { readStats } from '#features/rollout/stats.table.js';
import { readTarget, type TargetView } from '#features/rollout/target.table.js';
import { readFacts, writeStatus } from '#features/rollout/target-stream.table.js';
import { readSnapshot } from '#platform/eventstore/read-log.js';

import { eventually, WorkerFixture } from '../worker.fixture.js';

jest.setTimeout(60_000);

let fixture: WorkerFixture;
afterEach(() => fixture.close());

const target = async (): Promise<TargetView | undefined> => readTarget(fixture.database.db, 'default', 'edge-1');
const proven = (version: number) => async () => (await target())?.provenVersion === version;
const deployments = (limit = 50) => listDeployments(fixture.database.db, { gateway: 'default', limit });
const records = async () =>
  (await readSnapshot(fixture.database.db, 'deployments/default')).subjects.filter(({ subject }) => subject.startsWith('deployment/'));

const redeploy = (input: { targets?: string[]; force: boolean }) => {
  const id = randomUUID();
  const context = { commandId: randomUUID(), action: 'RequestRedeployment', actor: 'token/spec', reason: 'test' };
  const state = { targets: input.targets ?? null, reason: 'test', force: input.force };
  return fixture.events
    .handle({ stream: 'deployments/default', subjects: [`redeployment/${id}`], context }, () => [
      { type: 'RedeploymentRequested', schemaVersion: 1, subject: `redeployment/${id}`, state },
    ])
    .then(() => id);
};

describe('an agent that moves between workers', () => {
  test('the new worker takes over, and the old one writes nothing about the target any more', async () => {
    fixture = await WorkerFixture.open();
    const [first, second] = [await fixture.startWorker('w1'), await fixture.startWorker('w2')];
    const agent = fixture.agent();
    await agent.connect(first.port);
    await eventually('live by the first', proven(1));
    agent.close();
    await agent.connect(second.port);
    const version = await fixture.putMapping('user');
    await eventually('live by the second', proven(version));
    expect(agent.lastFence?.term).toBe(2);

    const stale = { target: 'edge-1', term: 1 };
    const { db } = fixture.database;
    const status = {
      state: 'idle',
      epoch: 9,
      envoyPid: 9,
      windowEndsMs: 0,
      appliedRelease: 'x',
      appliedVersion: 9,
      appliedRender: 'x',
      error: 'stale',
      delivery: 'hot-restart',
    };
    expect(await writeStatus(db, stale, status)).toBe(false);
    expect(await readFacts(db, stale)).toBeUndefined();
    const step = {
      release: agent.releases.at(-1)?.releaseId ?? '',
      report: 99,
      step: 'failed',
      atMs: 1,
      durationMs: 0,
      code: 'x',
      detail: '',
      epochFrom: -1,
      epochTo: -1,
      final: 'failed' as const,
    };
    expect(await takeStep(db, stale, step)).toBeUndefined();
    expect(await target()).toMatchObject({ provenVersion: version, error: '' });
  });

  test('a change is delivered whichever worker the job falls to', async () => {
    fixture = await WorkerFixture.open();
    const first = await fixture.startWorker('w1', { tuning: { sweepMs: 60_000 } });
    await fixture.startWorker('w2', { tuning: { sweepMs: 60_000 } });
    await fixture.startWorker('w3', { tuning: { sweepMs: 60_000 } });
    const agent = fixture.agent();
    await agent.connect(first.port);
    await eventually('live', proven(1));
    for (let i = 0; i < 8; i++) {
      const version = await fixture.putMapping(`m${i}`);
      await eventually(`version ${version} is live`, proven(version));
    }
  });

  test('a second stream of the same target ends the first', async () => {
    fixture = await WorkerFixture.open();
    const [first, second] = [await fixture.startWorker('w1'), await fixture.startWorker('w2')];
    const agent = fixture.agent();
    await agent.connect(first.port);
    await eventually('live', proven(1));
    const twin = fixture.agent();
    twin.lastFence = agent.lastFence;
    await twin.connect(second.port);
    await eventually('the first is sent away', () => agent.closedBecause !== undefined);
    expect((await target())?.connected).toBe(true);
  });

  test('what became of a release reaches the rows through the journal, over another worker', async () => {
    fixture = await WorkerFixture.open();
    const first = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(first.port);
    await eventually('live', proven(1));
    agent.frozen = true;
    const version = await fixture.putMapping('user');
    await eventually('accepted', () => agent.releases.at(-1)?.version === version);
    await fixture.stopWorker(first);
    agent.frozen = false;
    const manifest = agent.releases.at(-1);
    if (manifest === undefined) throw new Error('no release');
    await agent.carryOut(manifest); // with nobody to tell
    expect(agent.unacknowledged).toBeGreaterThan(0);
    const second = await fixture.startWorker('w2');
    await agent.connect(second.port);
    await eventually('proven by the journal', proven(version));
    expect(agent.releases.filter((release) => release.version === version)).toHaveLength(1);
    await eventually('recorded', async () => (await records()).length === 2);
  });
});

describe('failures', () => {
  test('a release that fails comes again; a newer version does not wait for it', async () => {
    fixture = await WorkerFixture.open();
    let broken = true;
    const worker = await fixture.startWorker('w1', { tuning: { backoffMs: 30_000 } });
    const agent = fixture.agent();
    const carryOut = agent.carryOut.bind(agent);
    agent.carryOut = async (manifest) => {
      if (broken && manifest.version === 2) agent.report('failed', manifest, { code: 'proof_missing', detail: 'no answer' });
      else await carryOut(manifest);
    };
    await agent.connect(worker.port);
    await eventually('live', proven(1));
    await fixture.putMapping('user');
    await eventually('it failed', async () => (await deployments())[0]?.state === 'failed');
    expect((await deployments())[0]).toMatchObject({ code: 'proof_missing', detail: 'no answer' });
    const version = await fixture.putMapping('other');
    await eventually('the newer one is live at once', proven(version), 5_000);
    broken = false;
  });

  test('mappings that Envoy refuses are found and set aside; the rest deploys, and so does the next change', async () => {
    fixture = await WorkerFixture.open();
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent({
      refuses: (text) =>
        /"(prefix|prefix_rewrite)":"\/evil\d/.test(text) && text.includes('evilsvc') ? 'INVALID_ARGUMENT: no' : undefined,
    });
    await agent.connect(worker.port);
    for (let i = 0; i < 20; i++) await fixture.putMapping(`good${i}`);
    await fixture.putMapping('evil1', { service: 'evilsvc' });
    const version = await fixture.putMapping('evil2', { service: 'evilsvc' });
    await eventually('the rest is live', proven(version));
    const statuses = await listMappingStatus(fixture.database.db, 'default');
    const aside = [...statuses].filter(([, { state }]) => state === 'set_aside').map(([name]) => name);
    expect(aside).toEqual(['evil1', 'evil2']);
    expect(statuses.get('evil1')).toMatchObject({ code: 'envoy_refused', reason: 'INVALID_ARGUMENT: no' });
    expect(agent.bootstrap).toContain('/good19/');
    expect(agent.validations).toBeLessThan(40);

    const next = await fixture.putMapping('after');
    await eventually('the next good change is live', proven(next));
    const validations = agent.validations;

    await fixture.stopWorker(worker);
    const again = await fixture.startWorker('w2');
    await agent.connect(again.port);
    const later = await fixture.putMapping('later');
    await eventually('still aside after a restart', proven(later));
    expect(agent.validations).toBe(validations);

    const healed = await fixture.putMapping('evil1', { service: 'usersvc', prefix: '/evil1/' });
    await eventually('a changed mapping gets its chance', proven(healed));
    await eventually(
      'its status is cleared',
      async () => (await listMappingStatus(fixture.database.db, 'default')).get('evil1') === undefined,
    );
  });

  test('a queue that is emptied again and again loses nothing', async () => {
    fixture = await WorkerFixture.open();
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    await eventually('live', proven(1));
    await eventually(
      'the queue is open',
      async () => (await fixture.query<{ found: string | null }>(`select to_regclass('bullmq.job') as found`))[0]?.found !== null,
    );
    let version = 0;
    for (let i = 0; i < 5; i++) {
      version = await fixture.putMapping(`m${i}`);
      await fixture.query('delete from bullmq.job');
    }
    await eventually('the last version is live', proven(version));
  });

  test('database connections that are cut in the middle cost nothing but time', async () => {
    fixture = await WorkerFixture.open();
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent({ restartMs: 30 });
    await agent.connect(worker.port);
    await eventually('live', proven(1));
    const admin = new pg.Client({ connectionString: fixture.test.adminUrl });
    await admin.connect();
    let version = 0;
    for (let i = 0; i < 5; i++) {
      version = await fixture.putMapping(`m${i}`);
      await admin.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name in ('chancery-worker', 'chancery-queue', 'chancery-listen')`,
      );
      await agent.reconnect(worker.port);
    }
    await admin.end();
    await eventually('the last version is live', async () => {
      await agent.reconnect(worker.port);
      return proven(version)();
    });
    await eventually('every ended push is in the log once', async () => {
      const ended = (await deployments()).filter(({ state }) => state !== 'running');
      return (await records()).length === ended.length;
    });
  });

  test('records that a crash left out are written later, once', async () => {
    fixture = await WorkerFixture.open();
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    const version = await fixture.putMapping('user');
    await eventually('live', proven(version));
    await eventually('recorded', async () => (await records()).length === (await deployments()).length);
    await fixture.stopWorker(worker);
    const before = await records();
    await fixture.query('update chancery.deployment set recorded_version = null'); // as if it died between the log and the row
    await fixture.startWorker('w2');
    await eventually(
      'marked again',
      async () => (await fixture.query('select 1 from chancery.deployment where recorded_version is null')).length === 0,
    );
    expect(await records()).toEqual(before);
  });
});

describe('a database that was restored to the past', () => {
  test('the target is read-only until the lineage is raised', async () => {
    fixture = await WorkerFixture.open();
    const worker = await fixture.startWorker('w1', { statusListen: { host: '127.0.0.1', port: 0 } });
    const agent = fixture.agent();
    const [row] = await fixture.query<{ lineage: number; lineage_id: string }>('select lineage, lineage_id from chancery.lineage');
    agent.lastFence = { lineage: 1, lineageId: row?.lineage_id ?? '', term: 7, sequence: 3 };
    agent.status = { ...agent.status, appliedVersion: 120 };
    await agent.connect(worker.port);
    await eventually('it stands still', async () => (await target())?.error.includes('release 1.7.3') === true);
    await fixture.putMapping('user');
    const readyz = () => fetch(`http://127.0.0.1:${worker.statusPort}/readyz`);
    const answer = await readyz();
    expect(answer.status).toBe(503);
    expect(await answer.text()).toContain('chancery recover');
    expect(agent.releases).toHaveLength(0);

    await recoverLineage(fixture.database.db, { reason: 'restored from backup', actor: 'spec' });
    await eventually('it is written to again', proven(2));
    expect(agent.lastFence).toMatchObject({ lineage: 2 });
    await eventually('it is ready', async () => (await readyz()).status === 200);
  });
});

describe('redeployments', () => {
  test('one that was asked for is pushed though nothing changed, and answered', async () => {
    fixture = await WorkerFixture.open();
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    await eventually('live', proven(1));
    const quiet = await redeploy({ force: false });
    const done = (id: string, state: string) => async () => (await readRedeployment(fixture.database.db, id))?.targets[0]?.state === state;
    await eventually('proven', done(quiet, 'proven'));
    expect(agent.restarts).toHaveLength(1);
    const forced = await redeploy({ force: true, targets: ['edge-1', 'nobody'] });
    await eventually('proven', done(forced, 'proven'));
    expect(agent.restarts).toHaveLength(2);
    expect(agent.restarts.at(-1)?.force).toBe(true);
    const answered = await readRedeployment(fixture.database.db, forced);
    expect(answered?.targets).toMatchObject([
      { target: 'edge-1', state: 'proven' },
      { target: 'nobody', state: 'refused' },
    ]);
    expect((await deployments())[0]).toMatchObject({ trigger: 'redeployment', state: 'proven' });
  });
});

describe('statistics', () => {
  test('sums never go back, though the node counts from zero again', async () => {
    fixture = await WorkerFixture.open();
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    await eventually('live', proven(1));
    const version = await fixture.putMapping('user');
    await eventually('the mapping is live', proven(version));
    const prefix = /"stat_prefix":"([^"]*user[^"]*)"/.exec(agent.bootstrap)?.[1] ?? '';
    expect(prefix).not.toBe('');
    const total = async () => (await readStats(fixture.database.db, 'default')).mappings.get('user')?.rqTotal;
    agent.sendRouteStats(prefix, 10);
    await eventually('10', async () => (await total()) === 10);
    agent.sendRouteStats(prefix, 15);
    await eventually('15', async () => (await total()) === 15);
    agent.sendRouteStats(prefix, 2);
    await eventually('15 + 2', async () => (await total()) === 17);
    expect(await readStats(fixture.database.db, 'default')).toMatchObject({
      updateAttempts: 2,
      updateSuccesses: 2,
      updateErrors: 0,
      envoy: { 'server.live': 1 },
    });
  });
});

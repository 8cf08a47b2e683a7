import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { listDeployments } from '#features/rollout/deployment.table.js';
import { recoverLineage } from '#features/rollout/lineage.table.js';
import { listMappingStatus } from '#features/rollout/mapping-status.table.js';
import { readTarget, type TargetView } from '#features/rollout/target.table.js';
import { readSnapshot } from '#platform/eventstore/read-log.js';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE } from '#platform/xds/xds-resource.js';

import { eventually, WorkerFixture } from '../worker.fixture.js';

jest.setTimeout(60_000);

let fixture: WorkerFixture;
afterEach(() => fixture.close());

const live = { delivery: 'live' };
const target = async (name = 'edge-1'): Promise<TargetView | undefined> => readTarget(fixture.database.db, 'default', name);
const proven = (version: number, name?: string) => async () => (await target(name))?.provenVersion === version;
const deployments = (limit = 50) => listDeployments(fixture.database.db, { gateway: 'default', limit });
const records = async () =>
  (await readSnapshot(fixture.database.db, 'deployments/default')).subjects.filter(({ subject }) => subject.startsWith('deployment/'));
const settings = async () =>
  (await readSnapshot(fixture.database.db, 'gateway/default')).subjects.find(({ subject }) => subject === 'gateway')?.state;
const configure = async (change: object) => fixture.append('gateway', 'GatewayConfigured', { ...(await settings()), ...change });

describe('a change that is delivered live', () => {
  test('reaches the agent as the difference, is proven, and is recorded with what it covered', async () => {
    fixture = await WorkerFixture.open(live);
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    await eventually('the empty gateway is live', proven(1));
    expect(agent.live.releases).toHaveLength(1);
    expect(agent.live.releases[0]).toMatchObject({ baseDigest: '', version: 1, coversFrom: 1 });
    expect(agent.live.releases[0]?.bootstrap.length).toBeGreaterThan(100);
    expect(agent.live.set.ofType(LISTENER_TYPE).size).toBe(1);

    const version = await fixture.putMapping('user');
    await eventually('the mapping is live', proven(version));
    const [, release] = agent.live.releases;
    expect(release).toMatchObject({ version, coversFrom: version, baseDigest: agent.live.releases[0]?.digest, bootstrap: Buffer.alloc(0) });
    expect(release?.changed.length).toBeLessThan(agent.live.set.size);
    expect(release?.probes.length).toBeGreaterThan(0);
    expect(agent.live.holds(SCOPED_ROUTE_TYPE, '/user/')).toBe(true);
    expect(agent.live.set.get({ typeUrl: CLUSTER_TYPE, name: 'http-usersvc-80' })).toBeDefined();
    expect(agent.live.set.get({ typeUrl: ENDPOINT_TYPE, name: 'http-usersvc-80' })?.value.includes('127.0.0.1')).toBe(true);

    await eventually('both are recorded', async () => (await records()).length === 2);
    expect((await deployments())[0]).toMatchObject({ version, coversFrom: version, delivery: 'live', state: 'proven', trigger: 'change' });
    expect((await deployments())[0]?.steps.map(({ step }) => step)).toEqual(['pushed', 'proven']);
    await eventually('every report is acknowledged', () => agent.unacknowledged === 0);
    expect(await target()).toMatchObject({ delivery: 'live', provenVersion: version, appliedVersion: version, connected: true });
    expect(agent.releases).toHaveLength(0); // nothing by hot restart
  });

  test('changes while the agent is slow are merged into one release, and one record covers them', async () => {
    fixture = await WorkerFixture.open(live);
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    await eventually('live', proven(1));
    agent.slow = true;
    let version = 0;
    for (let i = 0; i < 20; i++) version = await fixture.putMapping(`m${i}`);
    agent.quicken();
    await eventually('the last is live', proven(version));
    const sizes = agent.live.releases.length;
    expect(sizes).toBeLessThanOrEqual(4);
    const rows = (await deployments()).filter((row) => row.version > 1).reverse();
    expect(rows[0]?.coversFrom).toBe(2);
    for (const [i, row] of rows.entries()) if (i > 0) expect(row.coversFrom).toBe((rows[i - 1]?.version ?? 0) + 1);
    expect(rows.at(-1)?.version).toBe(version);
    expect(agent.live.holds(SCOPED_ROUTE_TYPE, '/m19/')).toBe(true);
  });

  test('a version that changes nothing that is served is live without a push; a mapping that goes takes its cluster with it', async () => {
    fixture = await WorkerFixture.open(live);
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    await eventually('live', proven(1));
    const quiet = await fixture.append('principal/p', 'PrincipalPut', { fingerprint: 'x' });
    await eventually('it counts as live', proven(quiet));
    expect(agent.live.releases).toHaveLength(1);
    await eventually('with the mapping', proven(await fixture.putMapping('user')));
    const gone = await fixture.append('mapping/user', 'MappingDeleted', null);
    await eventually('without it', proven(gone));
    expect(agent.live.holds(SCOPED_ROUTE_TYPE, '/user/')).toBe(false);
    await eventually('its cluster goes', () => agent.live.set.ofType(CLUSTER_TYPE).size + agent.live.set.ofType(ENDPOINT_TYPE).size === 0);
  });

  test('endpoints that move are a push of their own, and settings that move the listener too', async () => {
    fixture = await WorkerFixture.open(live);
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    await eventually('live', proven(await fixture.putMapping('late', { service: 'latesvc' })));
    const status = async () => (await listMappingStatus(fixture.database.db, 'default')).get('late')?.state;
    await eventually('its service is not known', async () => (await status()) === 'unresolved');
    const found = await configure({ services: { usersvc: ['127.0.0.1:9001'], latesvc: ['127.0.0.1:9002'] } });
    await eventually('found', proven(found));
    const last = agent.live.releases.at(-1);
    expect(last?.changed.map(({ typeUrl }) => typeUrl)).toEqual([ENDPOINT_TYPE]);
    await eventually('the status is cleared', async () => (await listMappingStatus(fixture.database.db, 'default')).size === 0);
    const idle = await configure({ idleTimeoutMs: 1_234 });
    await eventually('the listener', proven(idle));
    expect(agent.live.releases.at(-1)?.changed.map(({ typeUrl }) => typeUrl)).toContain(LISTENER_TYPE);
  });

  test('switches to hot restarts and back, and each delivery goes on where the fence is', async () => {
    fixture = await WorkerFixture.open(live);
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    await eventually('live', proven(await fixture.putMapping('a')));
    await eventually('by hot restart', proven(await configure({ delivery: 'hot-restart' })));
    expect(agent.restarts).toHaveLength(1);
    await eventually('another restart', proven(await fixture.putMapping('b')));
    await eventually('live again', proven(await configure({ delivery: 'live' })));
    await eventually('and again', proven(await fixture.putMapping('c')));
    expect(agent.live.holds(SCOPED_ROUTE_TYPE, '/b/')).toBe(true);
    expect(agent.refusedPushes).toEqual([]);
  });
});

describe('an agent that comes back', () => {
  test('gets nothing when it holds what is newest, the difference when the worker remembers, everything from a worker that does not', async () => {
    fixture = await WorkerFixture.open(live);
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    await eventually('live', proven(await fixture.putMapping('a')));
    const count = agent.live.releases.length;
    agent.close();
    await agent.connect(worker.port);
    await eventually('it is there', async () => (await target())?.connected === true);
    await eventually('the next change comes', proven(await fixture.putMapping('b')));
    expect(agent.live.releases.length).toBe(count + 1);
    expect(agent.live.releases.at(-1)?.baseDigest).not.toBe('');

    agent.close();
    await eventually('it is gone', async () => (await target())?.connected === false);
    const missed = await fixture.putMapping('c');
    const { baseDigest } = await lastAfter(agent, () => agent.connect(worker.port), missed);
    expect(baseDigest).not.toBe('');

    agent.close();
    await fixture.stopWorker(worker);
    const second = await fixture.startWorker('w2');
    const same = agent.live.releases.length;
    await agent.connect(second.port);
    await eventually('it is with the second', async () => (await target())?.connected === true);
    await eventually('live by the second', proven(await fixture.putMapping('d')));
    expect(agent.live.releases.length).toBe(same + 1);

    agent.close();
    await fixture.stopWorker(second);
    const away = await fixture.putMapping('e');
    const third = await fixture.startWorker('w3');
    const whole = await lastAfter(agent, () => agent.connect(third.port), away);
    expect(whole.baseDigest).toBe('');
    expect(agent.live.holds(SCOPED_ROUTE_TYPE, '/e/')).toBe(true);
  });

  const lastAfter = async (agent: ReturnType<WorkerFixture['agent']>, connect: () => Promise<void>, version: number) => {
    await connect();
    await eventually(`version ${version} is live`, proven(version));
    const release = agent.live.releases.at(-1);
    if (release === undefined) throw new Error('no release');
    return release;
  };

  test('one that holds another set than it said refuses, and gets everything', async () => {
    fixture = await WorkerFixture.open(live);
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    await eventually('live', proven(1));
    agent.live.set.apply({ upserts: [], removed: [...agent.live.set].slice(0, 1) }); // as if its disk had lost it
    const version = await fixture.putMapping('user');
    await eventually('live all the same', proven(version));
    expect(agent.live.releases.at(-1)?.baseDigest).toBe('');
  });

  test('an outcome that no worker heard comes out of its journal, over another worker', async () => {
    fixture = await WorkerFixture.open(live);
    const first = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(first.port);
    await eventually('live', proven(1));
    agent.frozen = true;
    const version = await fixture.putMapping('user');
    await eventually('accepted', () => agent.live.releases.at(-1)?.version === version);
    expect(await deployments()).toHaveLength(1);
    await fixture.stopWorker(first);
    agent.frozen = false;
    agent.prove(); // with nobody to tell
    const second = await fixture.startWorker('w2');
    await agent.connect(second.port);
    await eventually('proven by the journal', proven(version));
    expect((await deployments())[0]).toMatchObject({ version, coversFrom: version, delivery: 'live', state: 'proven' });
    await eventually('recorded', async () => (await records()).length === 2);
    await eventually('acknowledged', () => agent.unacknowledged === 0);
  });

  test('one that is ahead of the database is read-only until the lineage is raised; within reserved places it is not', async () => {
    fixture = await WorkerFixture.open(live);
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    await eventually('live', proven(1));
    const [row] = await fixture.query<{ sequence: number }>('select sequence from chancery.target');
    expect(row?.sequence).toBeGreaterThanOrEqual(agent.lastFence?.sequence ?? 99);
    agent.close();
    await agent.connect(worker.port);
    await eventually('live again', proven(await fixture.putMapping('a')));
    const fence = agent.lastFence;
    if (fence === undefined) throw new Error('no fence');
    agent.close();
    agent.lastFence = { ...fence, sequence: 10_000 };
    await agent.connect(worker.port);
    await eventually('it stands still', async () => (await target())?.error.includes('10000') === true);
    const count = agent.live.releases.length;
    const version = await fixture.putMapping('b');
    await recoverLineage(fixture.database.db, { reason: 'restored from backup', actor: 'spec' });
    await eventually('it is written to again', proven(version));
    expect(agent.live.releases.length).toBe(count + 1);
    expect(agent.lastFence).toMatchObject({ lineage: 2 });
  });
});

describe('refusals and failures', () => {
  test('what Envoy refuses of a release is traced to its mapping, which is set aside; the rest is live, and other targets are not disturbed', async () => {
    fixture = await WorkerFixture.open(live);
    const worker = await fixture.startWorker('w1');
    const evil = (text: string) => /evil\d/.test(text) && text.includes('evilsvc');
    const agent = fixture.agent({
      refuses: (text) =>
        /"(prefix|prefix_rewrite)":"\/evil\d/.test(text) && text.includes('evilsvc') ? 'INVALID_ARGUMENT: no' : undefined,
      refusesLive: (release) => {
        const resources = release.changed.filter(({ typeUrl, value }) => typeUrl === SCOPED_ROUTE_TYPE && evil(value.toString('latin1')));
        const names = resources.map(({ typeUrl, name }) => ({ typeUrl, name }));
        return names.length === 0 ? undefined : { resources: names, detail: 'INVALID_ARGUMENT: no' };
      },
    });
    const other = fixture.agent({ target: 'edge-2' });
    await agent.connect(worker.port);
    await other.connect(worker.port);
    for (let i = 0; i < 10; i++) await fixture.putMapping(`good${i}`);
    const version = await fixture.putMapping('evil1', { service: 'evilsvc' });
    await eventually('the rest is live', proven(version));
    await eventually('there too', proven(version, 'edge-2'));
    const statuses = await listMappingStatus(fixture.database.db, 'default');
    expect(statuses.get('evil1')).toMatchObject({ state: 'set_aside', code: 'envoy_refused', reason: 'INVALID_ARGUMENT: no' });
    expect([...statuses].filter(([, { state }]) => state === 'set_aside')).toHaveLength(1);
    expect(agent.live.holds(SCOPED_ROUTE_TYPE, 'set aside')).toBe(true);
    expect(agent.live.holds(SCOPED_ROUTE_TYPE, '/good9/')).toBe(true);
    expect((await deployments()).some(({ state, code }) => state === 'refused' && code === 'envoy_refused')).toBe(true);
    await eventually('the refusal is acknowledged', () => agent.unacknowledged === 0);
    const validations = agent.validations;
    const healed = await fixture.putMapping('evil1', { service: 'usersvc' });
    await eventually('a changed mapping gets its chance', proven(healed));
    expect(agent.validations).toBe(validations);
    await eventually(
      'its status is cleared',
      async () => (await listMappingStatus(fixture.database.db, 'default')).get('evil1') === undefined,
    );
  });

  test('a version is not live while something of it is refused and the cause is not found', async () => {
    fixture = await WorkerFixture.open(live);
    const worker = await fixture.startWorker('w1');
    let refusing = true;
    const agent = fixture.agent({
      refusesLive: (release) => {
        const resources = release.changed
          .filter(({ typeUrl }) => typeUrl === LISTENER_TYPE)
          .map(({ typeUrl, name }) => ({ typeUrl, name }));
        return refusing && release.version > 1 && resources.length > 0 ? { resources, detail: 'address in use' } : undefined;
      },
    });
    await agent.connect(worker.port);
    await eventually('live', proven(1));
    const version = await configure({ idleTimeoutMs: 1_234 });
    await eventually('refused', async () => (await deployments())[0]?.state === 'refused');
    const next = await fixture.putMapping('user');
    await eventually('the rest goes on', () => agent.live.releases.at(-1)?.version === next);
    await eventually('its outcome is written', async () => (await deployments())[0]?.version === next);
    expect((await target())?.provenVersion).toBe(version - 1);
    refusing = false;
    await eventually('live when it is cured', proven(await configure({ idleTimeoutMs: 2_345 })));
  });

  test('what is held back keeps its version from being live; past the deadline it is set aside, and comes back when it is warm', async () => {
    fixture = await WorkerFixture.open(live);
    const worker = await fixture.startWorker('w1', { tuning: { heldBackDeadlineMs: 300, notReadyMs: 1_000 } });
    const agent = fixture.agent();
    await agent.connect(worker.port);
    await eventually('live', proven(await fixture.putMapping('good')));
    const prove = agent.prove.bind(agent);
    let cold = true;
    let holding = false;
    // As the real one does: what waits is reported, the rest is proven.
    agent.prove = () => {
      const release = agent.live.unproven.at(-1);
      const scopes = [...agent.live.set.ofType(SCOPED_ROUTE_TYPE).values()].filter(({ needs }) => needs.includes('http-coldsvc-80'));
      if (release !== undefined && (cold ? scopes.length > 0 : holding)) {
        const resources = cold ? scopes.map(({ typeUrl, name }) => ({ typeUrl, name })) : [];
        holding = cold;
        agent.report('held_back', release, { coversFrom: release.version, resources, detail: 'x waits for http-coldsvc-80' });
      } else if (release !== undefined && holding) {
        holding = false;
        agent.report('held_back', release, { coversFrom: release.version, resources: [] });
      }
      prove();
    };
    const version = await fixture.putMapping('cold', { service: 'coldsvc' });
    const status = async () => (await listMappingStatus(fixture.database.db, 'default')).get('cold');
    await eventually('its mapping is set aside', async () => (await status())?.code === 'upstream_not_ready');
    await eventually('without it the version is live', proven(version));
    expect(agent.live.holds(SCOPED_ROUTE_TYPE, 'upstream_not_ready')).toBe(true);
    cold = false;
    await eventually('it is tried again', () => agent.live.holds(CLUSTER_TYPE, 'coldsvc'));
    await eventually('its status is cleared', async () => (await status())?.state !== 'set_aside');
  });

  test('a proof that is missing is written, and the release is tried again', async () => {
    fixture = await WorkerFixture.open(live);
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    await eventually('live', proven(1));
    agent.frozen = true;
    const version = await fixture.putMapping('user');
    await eventually('accepted', () => agent.live.releases.at(-1)?.version === version);
    const failed = agent.live.takeUnproven()?.release;
    if (failed === undefined) throw new Error('nothing to prove');
    agent.frozen = false;
    agent.report('failed', failed, { code: 'proof_missing', detail: 'no answer', coversFrom: version, renderSha256: failed.renderSha256 });
    await eventually('it is written', async () => (await deployments())[0]?.state === 'failed');
    expect((await deployments())[0]).toMatchObject({ code: 'proof_missing', version, coversFrom: version });
    await eventually('it is proven after all', proven(version));
    expect((await deployments())[0]).toMatchObject({ trigger: 'retry', state: 'proven', version });
    expect(agent.live.releases.at(-1)?.changed).toEqual([]);
  });
});

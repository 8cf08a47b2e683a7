import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { listDeployments } from '#features/rollout/deployment.table.js';
import { listMappingStatus } from '#features/rollout/mapping-status.table.js';
import { listTargets, readTarget } from '#features/rollout/target.table.js';
import { readSnapshot } from '#platform/eventstore/read-log.js';

import { eventually, WorkerFixture } from './worker.fixture.js';

jest.setTimeout(60_000);

let fixture: WorkerFixture;
afterEach(() => fixture.close());

const proven = (version: number) => async () => (await readTarget(fixture.database.db, 'default', 'edge-1'))?.provenVersion === version;

describe('a worker and one agent', () => {
  test('a change is compiled, pushed, proven and recorded', async () => {
    fixture = await WorkerFixture.open();
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    await eventually('the empty gateway is live', proven(1));

    const version = await fixture.putMapping('user');
    await eventually('the mapping is live', proven(version));

    expect(agent.bootstrap).toContain('/user/');
    expect([...agent.files.keys()].length).toBeGreaterThan(1);
    const [newest] = await listDeployments(fixture.database.db, { gateway: 'default', limit: 10 });
    expect(newest).toMatchObject({ target: 'edge-1', version, state: 'proven', trigger: 'change', epochFrom: 0, epochTo: 1 });
    expect(newest?.steps.map(({ step }) => step)).toEqual(['started', 'rendered', 'accepted', 'validated', 'restarted', 'proven']);
    await eventually(
      'both pushes are in the log',
      async () => (await readSnapshot(fixture.database.db, 'deployments/default')).subjects.length === 2,
    );
    await eventually('every report is acknowledged', () => agent.unacknowledged === 0);
    expect(await listTargets(fixture.database.db, 'default')).toMatchObject([
      { name: 'edge-1', state: 'enrolled', desiredVersion: version, provenVersion: version, connected: true, epoch: 1 },
    ]);
  });

  test('a change that renders to the same is live without a push', async () => {
    fixture = await WorkerFixture.open();
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    await eventually('live', proven(1));
    const version = await fixture.append('principal/p', 'PrincipalPut', { fingerprint: 'x' });
    await eventually('the same render counts as proven', proven(version));
    expect(agent.releases).toHaveLength(1);
    expect(await listDeployments(fixture.database.db, { gateway: 'default', limit: 10 })).toHaveLength(1);
  });

  test('a service that appears goes live without a restart', async () => {
    fixture = await WorkerFixture.open();
    const worker = await fixture.startWorker('w1');
    const agent = fixture.agent();
    await agent.connect(worker.port);
    const version = await fixture.putMapping('late', { service: 'latesvc' });
    await eventually('live', proven(version));
    const statuses = () => listMappingStatus(fixture.database.db, 'default');
    expect((await statuses()).get('late')).toMatchObject({ state: 'unresolved', code: 'unresolved_service' });
    const restarts = agent.restarts.length;

    const settings = (await readSnapshot(fixture.database.db, 'gateway/default')).subjects.find(
      ({ subject }) => subject === 'gateway',
    )?.state;
    const next = await fixture.append('gateway', 'GatewayConfigured', {
      ...settings,
      services: { usersvc: ['127.0.0.1:9001'], latesvc: ['127.0.0.1:9002'] },
    });
    await eventually('the endpoints are there', proven(next));
    expect(agent.restarts).toHaveLength(restarts);
    expect([...agent.files.values()].some(({ json }) => json.toString().includes('9002'))).toBe(true);
    await eventually('the status is cleared', async () => (await statuses()).size === 0);
    expect((await listDeployments(fixture.database.db, { gateway: 'default', limit: 1 }))[0]).toMatchObject({
      trigger: 'endpoints',
      state: 'proven',
    });
  });

  test('a burst of 100 changes in a second restarts a slow agent at most once more than it has windows', async () => {
    fixture = await WorkerFixture.open();
    const worker = await fixture.startWorker('w1');
    const drainMs = 1_500;
    const agent = fixture.agent({ drainMs, restartMs: 50 });
    await agent.connect(worker.port);
    await eventually('live', proven(1));
    const before = agent.restarts.length;
    const began = performance.now();
    let version = 0;
    for (let i = 0; i < 100; i++) version = await fixture.putMapping(`m${i}`);
    const windows = Math.ceil((performance.now() - began) / drainMs); // one, unless this machine cannot write a hundred in that time
    await eventually('the last change is live', proven(version));
    expect(agent.restarts.length - before).toBeLessThanOrEqual(windows + 1);
    expect(agent.bootstrap).toContain('/m99/');
  });
});

import { afterEach, expect, jest, test } from '@jest/globals';

import { listMappingStatus } from '#features/rollout/mapping-status.table.js';
import { readTarget } from '#features/rollout/target.table.js';

import { SimulatedEnvoy } from '../../../../test/faults/simulated-envoy.js';
import { eventually, WorkerFixture } from '../worker.fixture.js';

jest.setTimeout(60_000);

let fixture: WorkerFixture;
let envoys: SimulatedEnvoy[] = [];
afterEach(async () => {
  for (const envoy of envoys) envoy.close();
  envoys = [];
  await fixture.close();
});

test('what one Envoy refuses and another takes is its own fault; what none takes is set aside', async () => {
  fixture = await WorkerFixture.open({ delivery: 'live' });
  const { port } = await fixture.startWorker('w1');
  const dial = (name: string, refuses: (scope: Buffer) => boolean) => {
    const envoy = new SimulatedEnvoy({ name, port: () => port, token: 'agent-token', againMs: 100, refuses });
    envoys.push(envoy);
    return envoy;
  };
  const well = dial('well', (scope) => scope.includes('/poison/'));
  await eventually('the empty gateway has an Envoy', async () => (await readTarget(fixture.database.db, 'default', 'well')) !== undefined);
  const sick = dial('sick', () => true);
  await fixture.putMapping('good');
  await eventually('who is well has it', () => well.holds('/good/'));
  await eventually('who is sick has refused it', () => sick.refusals > 0);
  await fixture.putMapping('bad', { rewrite: '/poison/' });
  const statuses = () => listMappingStatus(fixture.database.db, 'default');
  await eventually('what nobody takes is set aside', async () => (await statuses()).get('bad')?.state === 'set_aside');
  await eventually('who is well has the rest', () => well.holds('/bad/') && !well.holds('/poison/'));
  expect((await statuses()).get('good')?.state).not.toBe('set_aside');
});

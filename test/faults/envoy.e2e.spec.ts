import { afterEach, expect, jest, test } from '@jest/globals';

import { signalProcess } from '#platform/envoy/process-identity.js';

import { PLANE_DOWN } from './convergence-invariants.js';
import { FaultHouse } from './fault-house.js';

jest.setTimeout(120_000);

let house: FaultHouse;
afterEach(() => house?.close());

test('F17: an Envoy that hangs holds up no other node, and catches up when it goes on', async () => {
  house = await FaultHouse.start({ nodes: ['a', 'b'] });
  house.startTraffic(['b']);
  const envoys = await house.node('a').envoys();
  expect(envoys.length).toBeGreaterThan(0);
  await house.fault('the Envoy of a hangs', async () => {
    for (const envoy of envoys) signalProcess(envoy, 'SIGSTOP');
    for (let i = 0; i < 3; i++) await house.converged(await house.write(), { nodes: ['b'], withinMs: 5_000 });
    for (const envoy of envoys) signalProcess(envoy, 'SIGCONT');
  });
  await house.converged(house.revision);
  expect((await house.finish()).violations).toEqual([]);
});

test('F18, I13: with everything else dead an Envoy that is killed serves again from its disk within two seconds', async () => {
  house = await FaultHouse.start({ nodes: ['a', 'b'] });
  await house.converged(await house.write());
  house.startTraffic();
  const revision = house.revision;
  await house.fault(PLANE_DOWN, async () => {
    await house.api.kill();
    await house.worker(0).process.kill();
    house.databaseLine?.set('cut');
    await house.killEnvoys('a');
    expect(await house.served('a')).toBe(revision);
    await house.killEnvoys('b');
    house.databaseLine?.set('pass');
    await house.startApi();
    const { port } = await house.startWorker();
    for (const node of house.nodes.values()) node.line.aim(() => port);
  });
  await house.converged(await house.write());
  const { violations, checked } = await house.finish();
  expect(violations).toEqual([]);
  expect(checked.I13).toBeGreaterThan(20);
});

test('an Envoy that is killed and of whose death the history does not know is found as loss', async () => {
  house = await FaultHouse.start({ rate: 100 });
  house.startTraffic();
  await house.converged(await house.write());
  await house.node('a').killEnvoys();
  await house.until('it serves again', () => house.serves('a'));
  await house.converged(await house.write());
  expect([...new Set((await house.finish()).violations.map(({ invariant }) => invariant))]).toEqual(['I8']);
});

test('F18: an Envoy that is killed again and again comes back each time, and changes go on', async () => {
  house = await FaultHouse.start();
  house.startTraffic();
  await house.fault('the Envoy is killed three times', async () => {
    for (let i = 0; i < 3; i++) {
      const writing = house.write();
      await house.killEnvoys('a');
      await writing;
    }
  });
  await house.converged(house.revision);
  await house.converged(await house.write());
  expect((await house.finish()).violations).toEqual([]);
});

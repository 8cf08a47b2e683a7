import { afterEach, expect, jest, test } from '@jest/globals';

import { FaultHouse } from './fault-house.js';

jest.setTimeout(120_000);

let house: FaultHouse;
afterEach(() => house?.close());

test('F16: agent and worker, parted in every way: traffic goes on, and the newest version comes when they meet again', async () => {
  house = await FaultHouse.start({ nodes: ['a', 'b'] });
  house.startTraffic();
  const { line } = house.node('a');
  for (const mode of ['cut', 'silent', 'deaf', 'mute', 'trickle'] as const) {
    await house.fault(`a is parted from its worker: ${mode}`, async () => {
      line.set(mode);
      for (let i = 0; i < 3; i++) await house.write();
      await house.converged(house.revision, { nodes: ['b'] }); // the other one is not held up
      line.set('pass');
    });
    await house.converged(house.revision);
  }
  const { violations, checked } = await house.finish();
  expect(violations).toEqual([]);
  expect(checked.I6).toBe(2);
});

test('F16: a connection that is open and carries nothing is given up for a new one', async () => {
  house = await FaultHouse.start();
  house.startTraffic();
  const { line } = house.node('a');
  await house.fault('the way forgets the connection', async () => {
    const before = line.accepted;
    line.forget();
    await house.write();
    await house.until('the agent dials again', () => line.accepted > before, 45_000);
  });
  await house.converged(house.revision);
  await house.converged(await house.write());
  expect((await house.finish()).violations).toEqual([]);
});

import { afterEach, expect, jest, test } from '@jest/globals';

import { FaultHouse } from './fault-house.js';

jest.setTimeout(120_000);

let house: FaultHouse | undefined;
afterEach(async () => {
  await house?.close();
  house = undefined;
});

test('F3: a worker that is paused, and wakes after another has taken over, brings nothing old back', async () => {
  house = await FaultHouse.start({ workers: 2 });
  const node = house.node('a');
  house.startTraffic();
  await house.converged(await house.write());
  const [first, second] = [house.worker(0), house.worker(1)];
  await house.fault('the worker is paused', async () => {
    first.process.pause();
    await house?.write();
    node.line.aim(() => second.port);
    node.line.set('cut');
    node.line.set('pass');
    await house?.converged(house.revision);
    first.process.resume();
  });
  // The one that woke may believe that it still has the node; whatever it does, these go live and nothing goes back.
  for (let i = 0; i < 5; i++) await house.converged(await house.write());
  const { violations, checked } = await house.finish();
  expect(violations).toEqual([]);
  expect(checked.I7).toBeGreaterThan(6);
  expect(checked.I8).toBeGreaterThan(50);
});

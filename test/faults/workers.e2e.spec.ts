import { afterEach, expect, jest, test } from '@jest/globals';

import { FaultHouse } from './fault-house.js';

jest.setTimeout(120_000);

let house: FaultHouse;
afterEach(() => house?.close());

/** Moves a node to another worker, as a load balancer does. */
function move(node: string, worker: number): void {
  const { line } = house.node(node);
  line.aim(() => house.worker(worker).port);
  line.set('cut');
  line.set('pass');
}

test('F3: a worker that is paused, and wakes after another has taken over, brings nothing old back', async () => {
  house = await FaultHouse.start({ workers: 2 });
  house.startTraffic();
  await house.converged(await house.write());
  const first = house.worker(0).process;
  await house.fault('the worker is paused', async () => {
    first.pause();
    await house.write();
    move('a', 1);
    await house.converged(house.revision);
    first.resume();
  });
  // The one that woke may believe that it still has the node; whatever it does, these go live and nothing goes back.
  for (let i = 0; i < 5; i++) await house.converged(await house.write());
  await house.until('there was traffic enough to lose some', () => house.requestsAnswered > 100);
  const { violations, checked } = await house.finish();
  expect(violations).toEqual([]);
  expect(checked.I7).toBeGreaterThan(6);
  expect(checked.I8).toBeGreaterThan(50);
});

test('F3: a paused worker whose connection stays open is left for another one by a node that hears nothing of it', async () => {
  house = await FaultHouse.start({ workers: 2 });
  house.startTraffic();
  await house.fault('the worker is paused, and nobody cuts its connections', async () => {
    house.worker(0).process.pause();
    house.node('a').line.aim(() => house.worker(1).port); // where the next connection goes
    await house.converged(await house.write(), { withinMs: 40_000 }); // the keepalive notices
    house.worker(0).process.resume();
  });
  await house.converged(await house.write());
  expect((await house.finish()).violations).toEqual([]);
});

test('F4: two workers at once, and nodes that go from one to the other and back', async () => {
  house = await FaultHouse.start({ workers: 2, nodes: ['a', 'b'] });
  move('b', 1);
  house.startTraffic();
  await house.fault('both workers have every node in turn', async () => {
    for (let i = 0; i < 8; i++) {
      const writing = house.write();
      move('a', i % 2);
      move('b', (i + 1) % 2);
      await writing;
      if (i % 3 === 2) await house.converged(house.revision);
    }
  });
  await house.converged(await house.write());
  const { violations, checked } = await house.finish();
  expect(violations).toEqual([]);
  expect(checked.I6).toBe(2);
});

test('a worker that is killed at every change: the next one goes on where the node is', async () => {
  house = await FaultHouse.start();
  house.startTraffic();
  for (let i = 0; i < 3; i++) {
    await house.fault('the worker is killed', async () => {
      const writing = house.write();
      await house.worker(i).process.kill();
      await house.startWorker();
      move('a', i + 1);
      await writing;
    });
    await house.converged(house.revision);
  }
  expect((await house.finish()).violations).toEqual([]);
});

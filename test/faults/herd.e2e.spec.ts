import { afterEach, expect, jest, test } from '@jest/globals';

import { FaultHouse } from './fault-house.js';
import { Herd } from './herd.js';

jest.setTimeout(180_000);

const HERD = 200;

let house: FaultHouse;
let herd: Herd | undefined;
afterEach(async () => {
  await herd?.close();
  await house?.close();
});

test('F32: hundreds of clients come back at once after the worker has died; all have the newest, and nobody else notices', async () => {
  house = await FaultHouse.start();
  const clients = new Herd({ size: HERD, port: house.worker(0).port, token: house.agentToken });
  herd = clients;
  const all = (revision: number) => async () => (await clients.look(`/revision-${revision}/`)).holding === HERD;
  await house.until('the herd is there', all(house.revision), 60_000);
  house.startTraffic();
  await house.write();
  await house.until('the herd has the change', all(house.revision));
  const before = (await clients.look('')).resources;
  await house.fault('the worker dies, and the herd comes back', async () => {
    await house.worker(0).process.kill();
    await house.write();
    const { port } = await house.startWorker();
    clients.aim(port);
    house.node('a').line.aim(() => port);
    await house.until('the herd has what was written meanwhile', all(house.revision), 60_000);
    await house.converged(house.revision);
  });
  const after = await clients.look('');
  expect(after.leastDials).toBeGreaterThanOrEqual(2);
  // Differences only: what has changed, and no client everything again.
  expect((after.resources - before) / HERD).toBeLessThan(8);
  expect(house.worker(1).process.isRunning).toBe(true);
  await house.converged(await house.write());
  await house.until('the herd goes on', all(house.revision));
  expect((await house.finish()).violations).toEqual([]);
});

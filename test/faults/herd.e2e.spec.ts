import { afterEach, expect, jest, test } from '@jest/globals';

import { FaultHouse } from './fault-house.js';
import { SimulatedEnvoy } from './simulated-envoy.js';

jest.setTimeout(180_000);

const HERD = 200;

let house: FaultHouse;
let herd: SimulatedEnvoy[] = [];
afterEach(async () => {
  for (const one of herd) one.close();
  herd = [];
  await house?.close();
});

test('F32: hundreds of clients come back at once after the worker has died; all have the newest, and nobody else notices', async () => {
  house = await FaultHouse.start();
  let { port } = house.worker(0);
  const token = house.agentToken;
  herd = Array.from({ length: HERD }, (_, i) => new SimulatedEnvoy({ name: `herd-${i}`, port: () => port, token, againMs: 100 + i }));
  const all = (revision: number) => () => herd.every((one) => one.holds(`/revision-${revision}/`));
  await house.until('the herd is there', all(house.revision), 60_000);
  house.startTraffic();
  await house.write();
  await house.until('the herd has the change', all(house.revision));
  const before = herd.reduce((sum, one) => sum + one.resources, 0);
  await house.fault('the worker dies, and the herd comes back', async () => {
    await house.worker(0).process.kill();
    await house.write();
    ({ port } = await house.startWorker());
    house.node('a').line.aim(() => port);
    await house.until('the herd has what was written meanwhile', all(house.revision), 60_000);
    await house.converged(house.revision);
  });
  expect(herd.every(({ dials }) => dials >= 2)).toBe(true);
  // Differences only: what has changed, and no client everything again.
  const again = herd.reduce((sum, one) => sum + one.resources, 0) - before;
  expect(again / HERD).toBeLessThan(8);
  expect(house.worker(1).process.isRunning).toBe(true);
  await house.converged(await house.write());
  await house.until('the herd goes on', all(house.revision));
  expect((await house.finish()).violations).toEqual([]);
});

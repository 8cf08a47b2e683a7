import { afterEach, expect, jest, test } from '@jest/globals';

import { FaultHouse } from './fault-house.js';

jest.setTimeout(120_000);

let house: FaultHouse;
afterEach(() => house?.close());

async function setAside(name: string): Promise<void> {
  await house.until(`${name} is set aside`, async () => {
    const { status } = (await house.must(`/mappings/${name}`, {})).json as {
      status: { state: string; reasons: { code: string; message: string }[] };
    };
    // Envoy itself said no, and no check before it: otherwise the test would be of something else.
    return status.state === 'set_aside' && status.reasons[0]?.code === 'envoy_refused' && status.reasons[0].message !== '';
  });
}

/** What Envoy's own constraints refuse and no check of ours looks for: a header condition without a name. */
const refusedByEnvoy = { headers: { '': 'x' } };

test('F19: what Envoy refuses is set aside with its reason; the rest serves, and the next change needs nobody', async () => {
  house = await FaultHouse.start({ nodes: ['a', 'b'] });
  house.startTraffic();
  await house.fault('a mapping that Envoy refuses', async () => {
    await house.writeUnchecked('bad', refusedByEnvoy);
    await house.converged(await house.write()); // beside it
    await setAside('bad');
  });
  await house.converged(await house.write());
  for (const name of house.nodes.keys()) expect(await house.serves(name, '/bad/x')).toBe(false);
  // What is good again is taken back.
  await house.must('/mappings/bad', { method: 'PUT', body: { prefix: '/bad/', service: `127.0.0.1:${house.echoPort}` } });
  for (const name of house.nodes.keys()) await house.until(`bad serves on ${name}`, () => house.serves(name, '/bad/x'));
  const { violations, checked } = await house.finish();
  expect(violations).toEqual([]);
  expect(checked.I14).toBe(1);
});

test('F20: one refused among many that change at once keeps none of the others', async () => {
  house = await FaultHouse.start();
  house.startTraffic();
  const names = Array.from({ length: 20 }, (_, i) => `many-${i}`);
  await house.fault('one of many is refused', async () => {
    const { line } = house.node('a');
    line.set('silent'); // all of it comes as one release
    const put = (name: string) =>
      house.must(`/mappings/${name}`, { method: 'PUT', body: { prefix: `/${name}/`, service: `127.0.0.1:${house.echoPort}` } });
    for (const name of names.slice(0, 10)) await put(name);
    await house.writeUnchecked('bad', refusedByEnvoy);
    for (const name of names.slice(10)) await put(name);
    line.set('pass');
    for (const name of names) await house.until(`${name} is served`, () => house.serves('a', `/${name}/x`));
    await setAside('bad');
  });
  await house.converged(await house.write());
  expect((await house.finish()).violations).toEqual([]);
});

test('F19: a refused mapping survives a restart of the worker and of the agent without being tried on the traffic again', async () => {
  house = await FaultHouse.start();
  house.startTraffic();
  await house.fault('a refused mapping, and everybody starts again', async () => {
    await house.writeUnchecked('bad', refusedByEnvoy);
    await setAside('bad');
    await house.node('a').agent?.kill();
    await house.worker(0).process.kill();
    const { port } = await house.startWorker();
    house.node('a').line.aim(() => port);
    house.node('a').startAgent();
  });
  await house.converged(await house.write());
  await setAside('bad');
  expect((await house.finish()).violations).toEqual([]);
});

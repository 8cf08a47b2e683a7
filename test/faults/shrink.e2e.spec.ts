import { afterEach, expect, jest, test } from '@jest/globals';

import { FaultHouse } from './fault-house.js';

jest.setTimeout(120_000);

let house: FaultHouse;
afterEach(() => house?.close());

const names = Array.from({ length: 20 }, (_, i) => `shop-${i}`);
const mapping = (name: string) => ({ name, prefix: `/${name}/`, service: `127.0.0.1:${house.echoPort}` });
const served = async () => (await Promise.all(names.map((name) => house.serves('a', `/${name}/x`)))).filter((is) => is).length;

test('F31: an import that would take most routes away is held until somebody confirms it; a delete by name is the order itself', async () => {
  house = await FaultHouse.start();
  const bring = (kept: readonly string[]) =>
    house.must('/config?prune=true', {
      method: 'PUT',
      body: { mappings: [...kept.map(mapping), ...house.steady()] },
      headers: { 'if-match': '*' },
    });
  await bring(names);
  await house.until('all are served', async () => (await served()) === names.length);
  house.startTraffic();
  await house.fault('a document that lost most of its mappings', async () => {
    await bring(names.slice(0, 8));
    const held = async () => (await house.must('/rollout', {})).json as { hold: { id: string; state: string } | null };
    await house.until('the push is held', async () => (await held()).hold?.state === 'held');
    expect(await served()).toBe(names.length);
    // A worker that starts now holds it as well: it knows what is in force.
    await house.worker(0).process.kill();
    const { port } = await house.startWorker();
    house.node('a').line.aim(() => port);
    await house.until('the agent is back', async () => (await house.target('a')).connected === true);
    expect(await served()).toBe(names.length);
    const { hold } = await held();
    await house.must('/rollout/hold/confirm', { method: 'POST', body: { hold: hold?.id, reason: 'meant' } });
    await house.until('it goes out', async () => (await served()) === 8);
  });
  for (const name of names.slice(0, 8)) await house.must(`/mappings/${name}`, { method: 'DELETE' });
  await house.until('none is left', async () => (await served()) === 0);
  await house.converged(await house.write());
  expect((await house.finish()).violations).toEqual([]);
});

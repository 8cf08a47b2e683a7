import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { findFreePort } from '#platform/network/listening-port.js';

import { type DevHarness, type HttpAnswer, send } from '../support/dev-harness.js';

import { LiveHouse } from './live-house.js';

jest.setTimeout(240_000);

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const versionOf = ({ headers }: HttpAnswer) => Number(headers['chancery-version']);

async function open(): Promise<LiveHouse> {
  const house = await LiveHouse.start();
  cleanups.push(() => house.dispose());
  return house;
}

/** Asks on new connections until the path answers this. */
const answers = (dev: DevHarness, url: string, wanted: (answer: HttpAnswer) => boolean, deadlineMs = 15_000) =>
  dev.until(() => send(url).catch(() => notThere), wanted, deadlineMs);
const notThere: HttpAnswer = { status: 0, headers: {}, text: 'nothing listens', json: undefined };

describe('a gateway that is delivered live', () => {
  test('a REST change serves without a restart, is proven and recorded, and outlives worker, agent and control plane', async () => {
    const house = await open();
    const { dev, gateway } = house;
    const epoch = (await house.target('dev')).epoch;
    const startedMs = performance.now();
    const created = await house.change('PUT', 'mappings/one', { prefix: '/one/', service: house.service });
    await answers(dev, `${gateway}/one/x`, ({ status, text }) => status === 200 && text === '/x');
    const liveMs = performance.now() - startedMs;
    expect(liveMs).toBeLessThan(2_000);
    const seen = await house.propagation(versionOf(created));
    expect(seen).toMatchObject({ state: 'live', satisfied: true, targets: [{ name: 'dev', state: 'live' }] });
    const target = await house.target('dev');
    expect(target).toMatchObject({ delivery: 'live', epoch, provenVersion: versionOf(created) });
    const [deployment] = await house.deployments();
    expect(deployment).toMatchObject({ delivery: 'live', state: 'proven', version: versionOf(created), trigger: 'change' });
    expect(deployment?.coversFrom).toBeLessThanOrEqual(versionOf(created));

    const moved = await house.change('PUT', 'mappings/one', { prefix: '/one/', service: house.service, rewrite: '/moved/' });
    await answers(dev, `${gateway}/one/x`, ({ text }) => text === '/moved/x');
    await house.propagation(versionOf(moved));

    await dev.killAndAwait('worker');
    expect((await send(`${gateway}/one/x`)).text).toBe('/moved/x');
    const after = await house.change('PUT', 'mappings/two', { prefix: '/two/', service: house.service });
    await answers(dev, `${gateway}/two/x`, ({ status }) => status === 200, 60_000);
    await house.propagation(versionOf(after));

    await dev.killAndAwait('agent');
    expect((await send(`${gateway}/two/x`)).status).toBe(200);
    const removed = await house.change('DELETE', 'mappings/one');
    await answers(dev, `${gateway}/one/x`, ({ status }) => status === 404, 60_000);
    await house.propagation(versionOf(removed));
    expect((await house.target('dev')).epoch).toBe(epoch);
  });
});

describe('Envoys without agents', () => {
  test.each(['delta', 'sotw'] as const)(
    'one that dials the worker itself by %s serves what is live, and is shown as acknowledged',
    async (protocol) => {
      const house = await open();
      const { dev } = house;
      const port = await findFreePort(new Set());
      await house.change('PATCH', 'settings', { http: { address: '127.0.0.1', port } });
      const version = versionOf(await house.change('PUT', 'mappings/one', { prefix: '/one/', service: house.service }));
      const envoy = await house.startEnvoy('stock-1', protocol);
      cleanups.push(() => envoy.end());
      const own = `http://127.0.0.1:${port}`;
      await answers(dev, `${own}/one/x`, ({ status, text }) => status === 200 && text === '/x', 30_000);
      const seen = await house.propagation(version);
      expect(Object.fromEntries(seen.targets.map(({ name, state }) => [name, state]))).toEqual({ dev: 'live', 'stock-1': 'acked' });
      const moved = await house.change('PUT', 'mappings/one', { prefix: '/one/', service: house.service, rewrite: '/moved/' });
      await answers(dev, `${own}/one/x`, ({ text }) => text === '/moved/x');
      await house.propagation(versionOf(moved));
      expect(await house.target('stock-1')).toMatchObject({
        kind: 'envoy',
        delivery: 'live',
        agentState: 'acked, unproven',
        appliedVersion: versionOf(moved),
        provenVersion: 0,
      });
      expect((await send(`${own}/.well-known/chancery/marker`)).status).toBe(404);
      await dev.killAndAwait('worker');
      expect((await send(`${own}/one/x`)).text).toBe('/moved/x');
      const gone = await house.change('DELETE', 'mappings/one');
      await answers(dev, `${own}/one/x`, ({ status }) => status === 404, 60_000);
      await house.propagation(versionOf(gone));
    },
  );

  test('one with a bad token gets nothing', async () => {
    const house = await open();
    const envoy = await house.startEnvoy('stock-1', 'delta', 'chy_wrong');
    cleanups.push(() => envoy.end());
    await envoy.said(/initial fetch timed out/);
    expect((await house.dev.api('/v1/gateways/default/targets/stock-1')).status).toBe(404);
  });
});

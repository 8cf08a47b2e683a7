import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { lostCount, type RunningLoad, startLoad } from '../load/load-client.js';
import { eventually } from '../support/eventually.js';
import { apisUnderTest } from './api-under-test.js';
import { ClusterHouse, Instance } from './cluster-house.js';

jest.setTimeout(300_000);

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const ENDS = { ready: false, serving: true, terminating: true };

describe.each(apisUnderTest('discovery with traffic'))('services of Kubernetes, on %s', (_name, start) => {
  async function open() {
    const api = await start();
    cleanups.push(() => api.dispose());
    const house = await ClusterHouse.start(api);
    cleanups.push(() => house.dispose());
    return { api, house };
  }

  async function instance(name: string): Promise<Instance> {
    const started = await Instance.start(name);
    cleanups.push(() => started.kill());
    return started;
  }

  test('a mapping goes live with its Service; instances come, drain and go with no request lost; an API server that is away takes nothing away', async () => {
    const { api, house } = await open();
    const { objects, dev } = house;
    const early = await house.map('user', { prefix: '/user/', service: 'usersvc' });
    expect(early).toMatchObject({ status: 200, json: { ok: true, warnings: [expect.objectContaining({ code: 'unverified_service' })] } });
    await house.answers('/user/health', ({ status }) => status === 503);

    const one = await instance('one');
    await objects.service('default/usersvc', { ports: [{ name: 'http', port: 80, targetPort: 'http' }] });
    const slice = (which: Instance, conditions?: object) => ({
      ports: [{ name: 'http', port: which.port }],
      endpoints: [which.endpoint(conditions)],
    });
    await objects.slice('default/usersvc-1', 'usersvc', slice(one));
    await house.answers('/user/health', ({ status, text }) => status === 200 && text === 'one /health');
    // What is known for the warnings is written beside the push, so that it may come a moment later.
    const second = () => house.map('user2', { prefix: '/user2/', service: 'usersvc.default:80' });
    await dev.until(second, ({ json }) => ((json as { warnings?: unknown[] }).warnings ?? []).length === 0);

    // Under load: another instance comes, the first drains and goes.
    const answered = new Map<string, number>();
    const load = loadOn(dev.ready.gateway, answered);
    await eventually('the load runs', () => load.counts().ok > 100);
    const two = await instance('two');
    await objects.slice('default/usersvc-2', 'usersvc', slice(two));
    await eventually('the second answers as well', () => (answered.get('two') ?? 0) > 20);
    await objects.changeSlice('default/usersvc-1', { endpoints: [one.endpoint(ENDS)] });
    await untilQuiet(answered, 'one');
    await one.end();
    await objects.deleteSlice('default/usersvc-1');

    // The API server away, with a worker that starts meanwhile.
    await api.kill();
    await dev.killAndAwait('worker');
    const before = answered.get('two') ?? 0;
    await eventually('the load goes on', () => (answered.get('two') ?? 0) > before + 300);
    await api.restart();
    const three = await instance('three');
    await objects.slice('default/usersvc-3', 'usersvc', slice(three));
    await eventually('what changes after it is heard', () => (answered.get('three') ?? 0) > 20, 60_000);

    const result = await load.stop();
    expect({ lost: result.lost.slice(0, 5), count: lostCount(result) }).toEqual({ lost: [], count: 0 });
    expect(result.sent).toBeGreaterThan(1_000);
  });
});

function loadOn(gateway: string, answered: Map<string, number>): RunningLoad {
  const { hostname, port } = new URL(gateway);
  return startLoad({
    host: hostname,
    port: Number(port),
    path: '/user/x',
    rate: 100,
    lanes: ['new', 'busy'],
    expect: (status, body) => {
      const name = body.split(' ')[0] ?? '';
      answered.set(name, (answered.get(name) ?? 0) + 1);
      return status === 200 ? 'ok' : 'wrong status';
    },
  });
}

/** Waits until this one has had nothing to answer for as long as the others had a hundred requests. */
async function untilQuiet(answered: ReadonlyMap<string, number>, name: string): Promise<void> {
  const others = () => [...answered].reduce((sum, [other, count]) => (other === name ? sum : sum + count), 0);
  let [last, since] = [answered.get(name) ?? 0, others()];
  await eventually(`${name} has nothing to do any more`, () => {
    const now = answered.get(name) ?? 0;
    if (now !== last) [last, since] = [now, others()];
    return others() - since > 100;
  });
}

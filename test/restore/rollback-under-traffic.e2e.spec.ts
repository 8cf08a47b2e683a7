import { afterEach, expect, jest, test } from '@jest/globals';

import { waitUntil } from '#platform/envoy/wait-until.js';

import { lostCount } from '../load/load-client.js';
import { DevHarness, type HttpAnswer, newDataDir } from '../support/dev-harness.js';

import { ThreeTargets } from './three-targets.js';

jest.setTimeout(240_000);

const g = '/v1/gateways/default';
/** The shortest window in which busy connections lose nothing. */
const quickWindow = { drainTimeS: 1, parentShutdownTimeS: 3, idleTimeoutMs: 1_500, defaultTimeoutMs: 1_500 };

interface Propagation {
  readonly state: string;
  readonly satisfied: boolean;
  readonly targets: readonly { readonly name: string; readonly state: string }[];
}

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function change(
  dev: DevHarness,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<HttpAnswer> {
  const answer = await dev.api(`${g}/${path}`, { method, headers, ...(body === undefined ? {} : { body }) });
  if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
  return answer;
}

const versionOf = ({ headers }: HttpAnswer) => Number(headers['chancery-version']);

/** Asks until the propagation fits; each question waits up to a second at the server. */
async function propagation(dev: DevHarness, version: number, fits: (seen: Propagation) => boolean): Promise<Propagation> {
  const path = `${g}/versions/${version}/propagation?wait=1s`;
  const answer = await dev.until(
    () => dev.api(path),
    ({ status, json }) => status === 200 && fits(json as Propagation),
    90_000,
  );
  return answer.json as Propagation;
}

const states = (seen: Propagation) => Object.fromEntries(seen.targets.map(({ name, state }) => [name, state]));

test('a rollback under traffic loses nothing, is proven on each Envoy, and one whose agent was paused catches up by itself', async () => {
  const house = await ThreeTargets.start();
  cleanups.push(() => house.dispose());
  const { dev, service } = house;
  await change(dev, 'PATCH', 'settings', quickWindow);
  await change(dev, 'PUT', 'mappings/stable', { prefix: '/stable/', service });
  await change(dev, 'PUT', 'mappings/moved', { prefix: '/moved/', service, rewrite: '/good/' });
  const good = versionOf(await change(dev, 'PUT', 'mappings/old', { prefix: '/old/', service }));
  expect(states(await propagation(dev, good, ({ satisfied }) => satisfied))).toEqual({ dev: 'live', 'edge-2': 'live', 'edge-3': 'live' });

  const loads = house.edges.map(({ name }) => house.load(name, '/stable/x', '/x'));
  await change(dev, 'DELETE', 'mappings/old');
  await change(dev, 'PUT', 'mappings/new', { prefix: '/new/', service });
  const bad = versionOf(
    await change(dev, 'PATCH', 'mappings/moved', { rewrite: '/bad/' }, { 'content-type': 'application/merge-patch+json' }),
  );
  await propagation(dev, bad, ({ satisfied }) => satisfied);
  for (const { name } of house.edges) expect((await house.through(name, '/moved/x')).text).toBe('/bad/x');

  process.kill(house.edge('edge-3').agent, 'SIGSTOP');
  const started = performance.now();
  const rolledBack = await change(
    dev,
    'POST',
    'rollbacks',
    { toVersion: good, reason: 'moved goes to the wrong place' },
    { 'if-match': '*' },
  );
  expect(rolledBack).toMatchObject({ status: 201, json: { toVersion: good, equal: true, version: bad + 1 } });
  const restored = bad + 1;
  const two = await propagation(dev, restored, (seen) => seen.targets.filter(({ state }) => state === 'live').length === 2);
  const provenMs = performance.now() - started;
  expect(two).toMatchObject({ state: 'pending', satisfied: false });
  expect(states(two)).toEqual({ dev: 'live', 'edge-2': 'live', 'edge-3': 'pending' });
  for (const name of ['dev', 'edge-2']) {
    expect((await house.through(name, '/moved/x')).text).toBe('/good/x');
    expect((await house.through(name, '/old/x')).text).toBe('/x');
    expect((await house.through(name, '/new/x')).status).toBe(404);
  }
  expect((await house.through('edge-3', '/moved/x')).text).toBe('/bad/x'); // its Envoy serves on while nobody minds it

  process.kill(house.edge('edge-3').agent, 'SIGCONT');
  const three = await propagation(dev, restored, ({ satisfied }) => satisfied);
  expect(states(three)).toEqual({ dev: 'live', 'edge-2': 'live', 'edge-3': 'live' });
  expect((await house.through('edge-3', '/moved/x')).text).toBe('/good/x');
  expect((await house.through('edge-3', '/new/x')).status).toBe(404);

  // Live, all of it takes less than the traffic needs to be worth looking at.
  for (const load of loads) await waitUntil(async () => load.counts().ok > 100 || null, { timeoutMs: 20_000, everyMs: 10 });
  for (const [i, load] of loads.entries()) {
    const result = await load.stop();
    expect({ edge: house.edges[i]?.name, lost: lostCount(result), first: result.lost.slice(0, 3) }).toMatchObject({ lost: 0 });
    expect(result.sent).toBeGreaterThan(100);
  }
  process.stderr.write(`rollback accepted to proven on both Envoys that were minded: ${Math.round(provenMs)} ms\n`);
});

test('a version that must be confirmed goes back by itself, though every process was dead when its time was up', async () => {
  const data = newDataDir();
  let dev = await DevHarness.start({ data, args: ['--no-demo'] });
  cleanups.push(async () => dev.dispose());
  await change(dev, 'PATCH', 'settings', quickWindow);
  const good = versionOf(await change(dev, 'PUT', 'mappings/kept', { prefix: '/kept/', service: '127.0.0.1:9' }));
  const risky = versionOf(await change(dev, 'PUT', 'mappings/risky?confirmWithin=4s', { prefix: '/risky/', service: '127.0.0.1:9' }));
  const { confirmation } = (await dev.api(`${g}/versions/${risky}`)).json as { confirmation: { deadline: string; state: string } };
  expect(confirmation).toMatchObject({ state: 'open' });
  await dev.kill();
  const deadline = Date.parse(confirmation.deadline);
  // The processes notice that nobody watches over them any more, and end.
  const isDown = () =>
    dev.api(`${g}/versions/${risky}`).then(
      () => false,
      () => true,
    );
  while (!(await isDown()) && Date.now() < deadline - 500);
  expect({ down: await isDown(), inTime: Date.now() < deadline }).toEqual({ down: true, inTime: true });
  await new Promise((passed) => setTimeout(passed, Math.max(0, deadline + 500 - Date.now()))); // what is tested: nobody was there at the deadline

  dev = await DevHarness.start({ data, args: ['--no-demo'] });
  const reverted = await dev.until(
    () => dev.api(`${g}/versions/${risky}`),
    ({ json }) => (json as { confirmation?: { state: string } } | undefined)?.confirmation?.state === 'reverted',
    60_000,
  );
  expect(reverted.status).toBe(200);
  expect((await dev.api(`${g}/mappings/risky`)).status).toBe(404);
  expect((await dev.api(`${g}/mappings/kept`)).status).toBe(200);
  const { items } = (await dev.api(`${g}/versions?limit=10`)).json as { items: { version: number; actor: string }[] };
  expect(items.map(({ version }) => version).filter((version) => version > good)).toEqual([risky + 1, risky]); // once, not twice
  expect(items[0]).toMatchObject({ actor: 'system' });
});

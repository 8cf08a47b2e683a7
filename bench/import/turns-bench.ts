import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { installEnvoy } from '#platform/envoy/binary.js';

import { median, quantile } from '../append/statistics.js';
import { calibrate } from '../machine/calibration.js';
import { startEchoService } from '../machine/echo-service.js';
import { order } from '../peers/contender.js';
import { importMappings, type Product, startProduct } from '../peers/product.js';

const HELP = `bench/import, turns: what another user waits for while somebody changes a whole configuration

  --routes 99000   mappings that are imported, changed, reverted and rolled back
`;

const { values: flags } = parseArgs({
  options: { routes: { type: 'string', default: '99000' }, help: { type: 'boolean', default: false } },
});
const routes = Number(flags.routes);

/** The other user's changes, one after the other on a gateway of his own, until something has ended; milliseconds each. */
async function changesBeside(product: Product, until: Promise<unknown>): Promise<number[]> {
  const base = `${product.dev.ready.api}/v1/gateways/other/mappings/svc`;
  const headers = { authorization: `Bearer ${product.dev.ready.token}`, 'content-type': 'application/json' };
  const taken: number[] = [];
  let over = false;
  until.finally(() => {
    over = true;
  });
  for (let n = 0; !over; n++) {
    const mapping = { prefix: '/svc0/', rewrite: `/t${n}/`, service: '10.0.0.1:8000' };
    const began = performance.now();
    await order(`${base}0`, { method: 'PUT', body: JSON.stringify(mapping), headers });
    taken.push(performance.now() - began);
  }
  return taken;
}

async function measure(product: Product, upstream: number): Promise<void> {
  const json = (body: object) => ({ method: 'POST', body: JSON.stringify(body) });
  const gateways = `${product.dev.ready.api}/v1/gateways`;
  const headers = { authorization: `Bearer ${product.dev.ready.token}`, 'content-type': 'application/json' };
  await order(gateways, { ...json({ name: 'other' }), headers });
  const version = async () => (JSON.parse(await order(`${gateways}/default`, { method: 'GET', headers })) as { version: number }).version;
  const nothing = new Promise<void>((resolve) => setTimeout(resolve, 3_000));
  const steps: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['nothing', () => nothing],
    ['an import', () => importMappings(product, routes, upstream)],
    ['a change of all', () => importMappings(product, routes, upstream, 'v1')],
    ['a revert', async () => product.call('reverts', json({ version: await version(), reason: 'bench' }))],
    [
      'a rollback',
      async () =>
        product.call('rollbacks', { ...json({ toVersion: (await version()) - 1, reason: 'bench' }), headers: { 'if-match': '*' } }),
    ],
  ];
  console.log(`  ${'beside'.padEnd(18)} took s  changes   p50 ms   p99 ms   max ms`);
  for (const [what, run] of steps) {
    const began = performance.now();
    const under = run();
    const [taken] = await Promise.all([changesBeside(product, under), under]);
    const seconds = (performance.now() - began) / 1000;
    const cells = [median(taken), quantile(taken, 0.99), Math.max(...taken)].map((value) => value.toFixed(1).padStart(9));
    console.log(`  ${what.padEnd(18)} ${seconds.toFixed(1).padStart(6)} ${String(taken.length).padStart(8)}${cells.join('')}`);
  }
}

async function main(): Promise<void> {
  if (flags.help) return console.log(HELP);
  const folder = mkdtempSync(join(tmpdir(), 'chancery-bench-turns-'));
  const { path: envoy } = await installEnvoy({
    cacheDir: join(import.meta.dirname, '../../.cache/envoy'),
    envoyPath: process.env.ENVOY_PATH,
  });
  console.log(`changes of another user beside one over ${routes} mappings; load ${calibrate().load.toFixed(1)}`);
  const echo = await startEchoService(folder, { hosts: ['127.0.0.1'] });
  const upstream = echo.ports[0] ?? 0;
  const product = await startProduct({ folder, routes: 0, upstreamPort: upstream, ownAddress: undefined, envoy });
  try {
    await measure(product, upstream);
  } finally {
    await product.stop();
    await echo.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

import { installEnvoy } from '#platform/envoy/binary.js';
import { findFreePort } from '#platform/network/listening-port.js';
import { startPostgres } from '#platform/postgres/embedded-postgres.js';

import { median, ratio } from '../append/statistics.js';
import { SteadyMachine } from '../machine/calibration.js';
import { startEchoService } from '../machine/echo-service.js';
import { caddyConfig, runCaddy } from '../peers/caddy-peer.js';
import { missingPeerBinary, order, routeHeader, type Site } from '../peers/contender.js';
import { envoyGatewayStandalone } from '../peers/envoy-gateway-file-peer.js';
import { importMappings, mappingOf, type Product, startProduct } from '../peers/product.js';
import { untilAllLive } from './all-live.js';
import { CopyLimit } from './copy-limit.js';
import { measureOneBigFile } from './one-big-file.js';

const HELP = `bench/import (B2): many mappings at once, to durable and to all live

  --routes 10000,100000     sizes
  --blocks 5                of each side, in turns
  --gateway-routes 10,100   sizes for Envoy Gateway's one big file, which takes minutes; 0 leaves it out
  --out FILE                everything that was measured, as JSON
`;

const { values: flags } = parseArgs({
  options: {
    routes: { type: 'string', default: '10000,100000' },
    blocks: { type: 'string', default: '5' },
    'gateway-routes': { type: 'string', default: '10,100' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

interface Sizes {
  readonly routes: number;
  /** Milliseconds, one for each block. */
  readonly durable: readonly number[];
  /** COPY of the events alone, and of every row that the import wrote. */
  readonly copy: readonly number[];
  readonly copyAll: readonly number[];
  readonly live: readonly number[];
  readonly caddy: readonly number[];
}

/** The whole import as one version of a gateway that no Envoy belongs to: until it is answered, which is when it is durable. */
async function importDurably(product: Product, gateway: string, routes: number, upstreamPort: number): Promise<number> {
  await product.call('../../gateways', {
    method: 'POST',
    body: JSON.stringify({ name: gateway, settings: { allowLoopbackUpstreams: true } }),
  });
  const body = JSON.stringify({ mappings: Array.from({ length: routes }, (_, route) => mappingOf(route, 'v0', upstreamPort)) });
  const began = performance.now();
  await product.call(`../${gateway}/config`, { method: 'PUT', body, headers: { 'if-match': '*' } });
  return performance.now() - began;
}

async function measureSize(
  routes: number,
  place: { folder: string; envoy: string; upstreamPort: number; machine: SteadyMachine },
): Promise<Sizes> {
  const { folder, envoy, upstreamPort, machine } = place;
  const postgres = await startPostgres({ dataDir: mkdtempSync(join(folder, 'postgres-')), settings: { max_wal_size: '8GB' } });
  const site: Site = { folder: mkdtempSync(join(folder, 'site-')), routes: 0, upstreamPort, ownAddress: undefined, envoy };
  const database = { DATABASE_URL: postgres.url, CHANCERY_OWNER_DATABASE_URL: postgres.ownerUrl };
  const product = await startProduct(site, database);
  const limit = await CopyLimit.open(postgres.ownerUrl);
  const caddy = await openCaddy(site, routes);
  const times = { durable: [] as number[], copy: [] as number[], copyAll: [] as number[], live: [] as number[], caddy: [] as number[] };
  try {
    let block = 0;
    const sides = [
      async () => {
        const gateway = `bench-${block}`;
        times.durable.push(await importDurably(product, gateway, routes, upstreamPort));
        const tables = await limit.read(`gateway/${gateway}`);
        const events = tables[0]?.rows.length;
        if (events !== routes) throw new Error(`${events} events of ${routes} mappings`);
        times.copy.push(await limit.measure(tables.slice(0, 1)));
        times.copyAll.push(await limit.measure(tables));
      },
      async () => {
        const began = performance.now();
        await importMappings(product, routes, upstreamPort, `v${block}`);
        await untilAllLive(product, routes, `v${block}`);
        times.live.push(performance.now() - began);
      },
      async () => {
        if (caddy !== null) times.caddy.push(await caddy.load(`v${block}`));
      },
    ];
    for (; block < Number(flags.blocks); block++) {
      machine.ready();
      for (const side of block % 2 ? sides.toReversed() : sides) await side();
    }
    return { routes, ...times };
  } finally {
    await caddy?.stop();
    await limit.close();
    await product.stop();
    await postgres.stop();
  }
}

/** Caddy with as many routes; `load` sends it the whole configuration with another revision. */
async function openCaddy(site: Site, routes: number) {
  if (missingPeerBinary('caddy') !== undefined) return null;
  const listen = await findFreePort(new Set());
  const admin = await findFreePort(new Set([listen]));
  const ports = { listen, admin };
  const server = runCaddy(site.folder, caddyConfig(site, { ...ports, routes: 1 }));
  const contender = { host: '127.0.0.1', port: listen, answer: routeHeader };
  await untilAllLive(contender, 1, 'v0');
  return {
    stop: () => server.stop(),
    async load(revision: string): Promise<number> {
      const body = JSON.stringify(caddyConfig(site, { ...ports, routes, revision }));
      const began = performance.now();
      await order(`http://127.0.0.1:${admin}/load`, { method: 'POST', body, headers: { 'content-type': 'application/json' } });
      await untilAllLive(contender, routes, revision);
      return performance.now() - began;
    },
  };
}

function line(name: string, times: readonly number[], against: { name: string; times: readonly number[]; goal: number } | null): void {
  let compared = '';
  if (against !== null && against.times.length === times.length && times.length > 0) {
    const { ratio: over, low, high } = ratio(times, against.times);
    const verdict = Number.isFinite(against.goal) ? `   goal <= ${against.goal}: ${over <= against.goal ? 'reached' : 'MISSED'}` : '';
    compared = `   ${over.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}] of ${against.name}${verdict}`;
  }
  console.log(`  ${name.padEnd(40)} ${times.length === 0 ? 'not measured' : `${median(times).toFixed(0).padStart(8)} ms`}${compared}`);
}

function report({ routes, durable, copy, copyAll, live, caddy }: Sizes, machine: SteadyMachine): void {
  console.log(`\n${routes} mappings   ${machine.describe()}`);
  line('COPY of the same events', copy, null);
  line('COPY of all rows that it writes', copyAll, { name: 'the events', times: copy, goal: Number.POSITIVE_INFINITY });
  line('import, durable', durable, { name: 'COPY of events', times: copy, goal: 2 });
  line('import, durable', durable, { name: 'COPY of all rows', times: copyAll, goal: 2 });
  line('Caddy, POST /load, all live', caddy, null);
  line('import, all live', live, { name: "Caddy's", times: caddy, goal: 1 });
}

async function main(): Promise<void> {
  if (flags.help) return console.log(HELP);
  const folder = mkdtempSync(join(tmpdir(), 'chancery-bench-import-'));
  const { path: envoy } = await installEnvoy({
    cacheDir: join(import.meta.dirname, '../../.cache/envoy'),
    envoyPath: process.env.ENVOY_PATH,
  });
  const machine = new SteadyMachine();
  const echo = await startEchoService(folder);
  const upstreamPort = echo.ports[0] ?? 0;
  const ownAddress = process.env.CHANCERY_BENCH_OWN_ADDRESS;
  console.log(`B2  many mappings at once; ${cpus().length} cores, Node ${process.version}`);
  if (missingPeerBinary('caddy') !== undefined) console.log(`  caddy: skipped, ${missingPeerBinary('caddy')}`);
  try {
    const sizes: Sizes[] = [];
    for (const routes of flags.routes.split(',').map(Number)) {
      sizes.push(await measureSize(routes, { folder, envoy, upstreamPort, machine }));
      report(sizes.at(-1) as Sizes, machine);
    }
    const gateway: { routes: number; ms: number }[] = [];
    const missing = envoyGatewayStandalone.missing({ ownAddress });
    if (missing !== undefined) console.log(`\nEnvoy Gateway: skipped, ${missing}`);
    for (const routes of missing === undefined ? flags['gateway-routes'].split(',').map(Number).filter(Boolean) : []) {
      const site: Site = { folder: mkdtempSync(join(folder, 'gateway-')), routes, upstreamPort, ownAddress, envoy };
      gateway.push({ routes, ms: await measureOneBigFile(site) });
      console.log(`\nEnvoy Gateway standalone, one file of ${routes} routes, all live: ${gateway.at(-1)?.ms.toFixed(0)} ms`);
    }
    if (flags.out === undefined) return;
    mkdirSync(dirname(flags.out), { recursive: true });
    const facts = { bench: 'import', at: new Date().toISOString(), node: process.version, cores: cpus().length, flags };
    writeFileSync(flags.out, `${JSON.stringify({ ...facts, calibrations: machine.calibrations, sizes, gateway }, null, 1)}\n`);
  } finally {
    await echo.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

import { installEnvoy } from '#platform/envoy/binary.js';

import { median } from '../append/statistics.js';
import { SteadyMachine } from '../machine/calibration.js';
import { startEchoService } from '../machine/echo-service.js';
import { missingPeerBinary, type Site } from '../peers/contender.js';
import { envoyGateway } from '../peers/envoy-gateway-peer.js';
import { type Footprint, measureCaddy, measureEmptyNest, measureEnvoyGateway, measureProduct } from './contestants.js';

const HELP = `bench/footprint (B9): from the start of what pushes to the first good push, and resident memory

  --routes 10000,100000     sizes
  --starts 5                of each
  --gateway-most 10000      the largest size that Envoy Gateway is asked for
  --out FILE                everything that was measured, as JSON
`;

const { values: flags } = parseArgs({
  options: {
    routes: { type: 'string', default: '10000,100000' },
    starts: { type: 'string', default: '5' },
    'gateway-most': { type: 'string', default: '10000' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

interface Row extends Footprint {
  readonly name: string;
  readonly routes: number;
}

/** The size for which the start has a goal, and the most that the worker may have at the largest size, MB. */
const GOAL_ROUTES = 10_000;
const MOST_WORKER_MB = 400;

function show({ name, routes, startMs, memoryMb }: Row): void {
  const memory = Object.entries(memoryMb).map(([process, mb]) => `${process} ${mb.toFixed(0)}`);
  console.log(
    `  ${name.padEnd(16)} ${String(routes).padStart(7)}   start ${median(startMs).toFixed(0).padStart(6)} ms   MB: ${memory.join(', ')}`,
  );
}

function verdicts(rows: readonly Row[], nest: readonly number[]): void {
  const of = (name: string, routes: number) => rows.find((row) => row.name === name && row.routes === routes);
  const [ours, caddys] = [of('chancery', GOAL_ROUTES), of('caddy', GOAL_ROUTES)];
  console.log(`  an empty NestJS application listens after ${median(nest).toFixed(0)} ms`);
  if (ours !== undefined && caddys !== undefined) {
    const limit = median(caddys.startMs) + median(nest);
    const took = median(ours.startMs);
    console.log(
      `  start with ${GOAL_ROUTES}: ${took.toFixed(0)} ms, limit (Caddy's start and an empty NestJS start) ${limit.toFixed(0)} ms   goal <= 1: ${(took / limit).toFixed(2)} ${took <= limit ? 'reached' : 'MISSED'}`,
    );
  }
  const largest = rows.filter(({ name }) => name === 'chancery').at(-1);
  if (largest === undefined || largest.routes < 100_000) return;
  const worker = largest.memoryMb.worker ?? Number.NaN;
  console.log(
    `  worker with ${largest.routes}: ${worker.toFixed(0)} MB   goal <= ${MOST_WORKER_MB}: ${worker <= MOST_WORKER_MB ? 'reached' : 'MISSED'}`,
  );
}

async function main(): Promise<void> {
  if (flags.help) return console.log(HELP);
  const folder = mkdtempSync(join(tmpdir(), 'chancery-bench-footprint-'));
  const { path: envoy } = await installEnvoy({
    cacheDir: join(import.meta.dirname, '../../.cache/envoy'),
    envoyPath: process.env.ENVOY_PATH,
  });
  const ownAddress = process.env.CHANCERY_BENCH_OWN_ADDRESS;
  const machine = new SteadyMachine();
  const starts = Number(flags.starts);
  const echo = await startEchoService(folder, { hosts: ['127.0.0.1', ...(ownAddress === undefined ? [] : [ownAddress])] });
  console.log(`B9  start to the first good push, and resident memory; ${cpus().length} cores, Node ${process.version}`);
  const contestants = [
    { name: 'caddy', measure: measureCaddy, missing: missingPeerBinary('caddy'), most: Number.POSITIVE_INFINITY },
    { name: 'chancery', measure: measureProduct, missing: undefined, most: Number.POSITIVE_INFINITY },
    {
      name: 'envoy-gateway',
      measure: measureEnvoyGateway,
      missing: envoyGateway.missing({ ownAddress }),
      most: Number(flags['gateway-most']),
    },
  ];
  const rows: Row[] = [];
  try {
    for (const { name, missing } of contestants) if (missing !== undefined) console.log(`  ${name}: skipped, ${missing}`);
    machine.ready();
    const nest = await measureEmptyNest(folder, starts);
    for (const routes of flags.routes.split(',').map(Number)) {
      for (const { name, measure } of contestants.filter(({ missing, most }) => missing === undefined && routes <= most)) {
        machine.ready();
        const site: Site = { folder: mkdtempSync(join(folder, `${name}-`)), routes, upstreamPort: echo.ports[0] ?? 0, ownAddress, envoy };
        rows.push({ name, routes, ...(await measure(site, starts)) });
        show(rows.at(-1) as Row);
      }
    }
    console.log(`  ${machine.describe()}`);
    verdicts(rows, nest);
    if (flags.out === undefined) return;
    mkdirSync(dirname(flags.out), { recursive: true });
    const facts = { bench: 'footprint', at: new Date().toISOString(), node: process.version, cores: cpus().length, flags };
    writeFileSync(flags.out, `${JSON.stringify({ ...facts, calibrations: machine.calibrations, emptyNestMs: nest, rows }, null, 1)}\n`);
  } finally {
    await echo.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();

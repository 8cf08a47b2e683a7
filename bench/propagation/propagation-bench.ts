import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

import { installEnvoy } from '#platform/envoy/binary.js';

import { SteadyMachine } from '../machine/calibration.js';
import { type EchoService, startEchoService } from '../machine/echo-service.js';
import { bareChain } from '../peers/bare-chain-peer.js';
import { caddy } from '../peers/caddy-peer.js';
import type { Contender, Peer } from '../peers/contender.js';
import { envoyGatewayStandalone } from '../peers/envoy-gateway-file-peer.js';
import { envoyGateway } from '../peers/envoy-gateway-peer.js';
import { goControlPlane, goControlPlaneScoped } from '../peers/go-control-plane-peer.js';
import { haproxyMap } from '../peers/haproxy-peer.js';
import { nginx } from '../peers/nginx-peer.js';
import { product } from '../peers/product.js';
import { stub } from '../peers/stub-peer.js';
import { measureRound, NotLiveError } from './detector.js';
import { reportGrowth, reportSize, type Sample } from './report.js';

const HELP = `bench/propagation (B1): an accepted change -> the first right answer on a new connection

  --routes 10,1000,10000,100000   sizes of the table
  --blocks 5                      blocks of A B B A for each size
  --rounds 3                      creates, updates and deletes of each contender in a slot
  --only chancery,stub            these contenders
  --limit 60                      seconds until a change counts as not live
  --seed 1                        of the order within the blocks
  --out FILE                      everything that was measured, as JSON
`;

const { values: flags } = parseArgs({
  options: {
    routes: { type: 'string', default: '10,1000,10000,100000' },
    blocks: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string' },
    limit: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

/** Those that cannot stand beside the others (their ports are fixed) run after them, alone. */
const groups: readonly (readonly Peer[])[] = [
  [product, stub, bareChain, goControlPlane, goControlPlaneScoped, envoyGateway, caddy, nginx, haproxyMap],
  [envoyGatewayStandalone],
];

/** A contender that runs, with its next route to create. */
interface Running {
  readonly peer: Peer;
  readonly contender: Contender;
  nextRoute: number;
  failed?: string;
}

const PAUSE_MS = 150;
/** A slot of a slow contender ends after the round in which it took so long. */
const SLOT_MS = 10_000;

let seed = Number(flags.seed);
function random(): number {
  seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
  return seed / 2_147_483_648;
}

function shuffled<T>(values: readonly T[]): T[] {
  return values
    .map((value) => ({ value, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ value }) => value);
}

async function slot(running: Running, block: number, routes: number, samples: Sample[]): Promise<void> {
  const began = performance.now();
  for (let round = 0; round < Number(flags.rounds) && performance.now() - began < SLOT_MS; round++) {
    if (running.failed !== undefined) return;
    try {
      running.nextRoute += 1;
      const changes = await measureRound(running.contender, running.nextRoute, { pauseMs: PAUSE_MS, limitMs: Number(flags.limit) * 1000 });
      for (const change of changes) samples.push({ contender: running.peer.name, routes, block, ...change });
    } catch (error) {
      running.failed = error instanceof NotLiveError ? error.message : String(error);
      console.log(`  ${running.peer.name} is left out from here on: ${running.failed}`);
    }
  }
}

async function startAll(
  peers: readonly Peer[],
  routes: number,
  place: { folder: string; echo: EchoService; envoy: string },
): Promise<Running[]> {
  const ownAddress = process.env.CHANCERY_BENCH_OWN_ADDRESS;
  const all: Running[] = [];
  for (const peer of peers) {
    const missing = routes > peer.mostRoutes ? `more than ${peer.mostRoutes} routes take it too long` : peer.missing({ ownAddress });
    if (missing !== undefined) {
      console.log(`  ${peer.name}: skipped, ${missing}`);
      continue;
    }
    const folder = mkdtempSync(join(place.folder, `${peer.name}-`));
    const began = performance.now();
    try {
      const site = { folder, routes, upstreamPort: place.echo.ports[0] ?? 0, ownAddress, envoy: place.envoy };
      all.push({ peer, contender: await peer.start(site), nextRoute: routes });
      console.log(`  ${peer.name}: ${routes} routes serve after ${((performance.now() - began) / 1000).toFixed(1)} s`);
    } catch (error) {
      console.log(`  ${peer.name}: did not start, ${error instanceof Error ? error.message : error}`);
    }
  }
  return all;
}

async function measureSize(routes: number, folder: string, machine: SteadyMachine, envoy: string): Promise<Sample[]> {
  const only = flags.only?.split(',');
  const samples: Sample[] = [];
  const ownAddress = process.env.CHANCERY_BENCH_OWN_ADDRESS;
  const echo = await startEchoService(folder, { hosts: ['127.0.0.1', ...(ownAddress === undefined ? [] : [ownAddress])] });
  try {
    for (const group of groups) {
      const peers = group.filter(({ name }) => !only || only.includes(name));
      if (peers.length === 0) continue;
      const running = await startAll(peers, routes, { folder, echo, envoy });
      try {
        for (const each of running) for (let n = 0; n < 2; n++) await slot(each, -1, routes, []); // warm: six changes and more
        for (let block = 0; block < Number(flags.blocks); block++) {
          machine.ready();
          const order = shuffled(running);
          for (const each of [...order, ...order.toReversed()]) await slot(each, block, routes, samples);
        }
      } finally {
        for (const { contender } of running) await contender.stop();
      }
    }
  } finally {
    await echo.stop();
  }
  return samples;
}

async function main(): Promise<void> {
  if (flags.help) return console.log(HELP);
  const folder = mkdtempSync(join(tmpdir(), 'chancery-bench-propagation-'));
  const { path: envoy } = await installEnvoy({
    cacheDir: join(import.meta.dirname, '../../.cache/envoy'),
    envoyPath: process.env.ENVOY_PATH,
  });
  const machine = new SteadyMachine();
  const samples: Sample[] = [];
  console.log(
    `B1  a change -> the first right answer on a new connection; ${cpus().length} cores, Node ${process.version}, seed ${flags.seed}`,
  );
  for (const { name, note } of groups.flat()) console.log(`  ${name}: ${note}`);
  try {
    const sizes = flags.routes.split(',').map(Number);
    for (const routes of sizes) {
      console.log(`\n${routes} routes`);
      const measured = await measureSize(routes, folder, machine, envoy);
      samples.push(...measured);
      console.log(`  ${machine.describe()}`);
      reportSize(measured, routes);
    }
    reportGrowth(samples, sizes);
    if (flags.out !== undefined) {
      mkdirSync(dirname(flags.out), { recursive: true });
      const facts = { bench: 'propagation', at: new Date().toISOString(), node: process.version, cores: cpus().length, flags };
      writeFileSync(
        flags.out,
        `${JSON.stringify({ ...facts, calibrations: machine.calibrations, rejected: machine.rejected, samples }, null, 1)}\n`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();

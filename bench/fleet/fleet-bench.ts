import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { installEnvoy } from '#platform/envoy/binary.js';

import { SteadyMachine } from '../machine/calibration.js';
import { startEchoService } from '../machine/echo-service.js';
import { residentMb } from '../machine/started-process.js';
import { missingPeerBinary } from '../peers/contender.js';
import { type FanOut, Fleet } from './fleet.js';
import { measureFloors } from './floor.js';
import { type Herd, report, reportFloors, type Size } from './report.js';
import { type AdsServer, send, startGoControlPlaneServer, startProductServer } from './servers.js';

const HELP = `bench/fleet (B8): one change to many delta-xDS clients, until all have acknowledged it

  --clients 1,100,1000   fleets
  --routes 1000          the table
  --blocks 5             blocks of A B B A
  --changes 6            of each server in a slot
  --only chancery,go-control-plane-scoped
  --out FILE             everything that was measured, as JSON
`;

const { values: flags } = parseArgs({
  options: {
    clients: { type: 'string', default: '1,100,1000' },
    routes: { type: 'string', default: '1000' },
    blocks: { type: 'string', default: '5' },
    changes: { type: 'string', default: '6' },
    only: { type: 'string' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

const PAUSE_MS = 100;
/** So that garbage and buffers of the start are gone before memory is read. */
const REST_MS = 3000;

interface Manned {
  readonly server: AdsServer;
  readonly fleet: Fleet;
}

let revision = 0;

async function slot({ server, fleet }: Manned): Promise<FanOut[]> {
  const fanOuts: FanOut[] = [];
  for (let n = 0; n < Number(flags.changes); n++) {
    revision += 1;
    fanOuts.push(await fleet.change(server.trigger(`x${revision}`)));
    await sleep(PAUSE_MS);
  }
  return fanOuts;
}

/** A fleet for each server; blocks of changes, in turns. */
async function measureFanOut(manned: readonly Manned[], machine: SteadyMachine): Promise<Map<string, FanOut[][]>> {
  const measured = new Map(manned.map(({ server }) => [server.name, [] as FanOut[][]]));
  for (const each of manned) await slot(each); // warm
  for (let block = 0; block < Number(flags.blocks); block++) {
    machine.ready();
    const order = block % 2 ? manned.toReversed() : manned;
    const rounds = new Map<string, FanOut[]>();
    for (const each of [...order, ...order.toReversed()])
      rounds.set(each.server.name, [...(rounds.get(each.server.name) ?? []), ...(await slot(each))]);
    for (const [name, fanOuts] of rounds) measured.get(name)?.push(fanOuts);
  }
  return measured;
}

/** The server is killed; the clock runs until every good client of the fleet has acknowledged a change that came after. */
async function measureHerd({ server, fleet }: Manned): Promise<Herd> {
  revision += 1;
  const trigger = server.trigger(`x${revision}`);
  const before = await fleet.counts();
  const all = fleet.watch(trigger.needle);
  const { back } = await server.kill();
  await back;
  await send(trigger);
  const { good, late } = await all;
  const after = await fleet.counts();
  return { allMs: good.max, p50Ms: good.p50, late: late ?? 0, bytesPerClient: (after.bytesIn - before.bytesIn) / good.count };
}

async function measureSize(servers: readonly AdsServer[], clients: number, folder: string, machine: SteadyMachine): Promise<Size> {
  const man = async (unhealthy: boolean) => {
    const all: Manned[] = [];
    for (const server of servers) {
      const fleet = new Fleet({ folder, xds: server.xds, clients, ...server.identity, unhealthy });
      await fleet.settle();
      all.push({ server, fleet });
    }
    return all;
  };
  const healthy = await man(false);
  await sleep(REST_MS);
  const memoryMb = Object.fromEntries(servers.map((server) => [server.name, residentMb([server.pid()])]));
  const alone = await measureFanOut(healthy, machine);
  const herds: Record<string, Herd> = {};
  for (const each of healthy) herds[each.server.name] = await measureHerd(each);
  for (const { fleet } of healthy) await fleet.stop();
  if (clients < 100) return { clients, memoryMb, alone, herds };
  const mixed = await man(true);
  const beside = await measureFanOut(mixed, machine);
  const counts = await Promise.all(mixed.map(({ fleet }) => fleet.counts()));
  for (const { fleet } of mixed) await fleet.stop();
  return {
    clients,
    memoryMb,
    alone,
    herds,
    beside,
    nacks: Object.fromEntries(mixed.map(({ server }, n) => [server.name, counts[n]?.nacks ?? 0])),
  };
}

async function startServers(folder: string, most: number, envoy: string): Promise<{ servers: AdsServer[]; stop(): Promise<void> }> {
  const routes = Number(flags.routes);
  const echo = await startEchoService(folder);
  const site = (name: string) => ({
    folder: mkdtempSync(join(folder, `${name}-`)),
    routes,
    upstreamPort: echo.ports[0] ?? 0,
    ownAddress: undefined,
    envoy,
  });
  const starts = {
    chancery: () => startProductServer(site('chancery'), most),
    'go-control-plane-scoped': () => startGoControlPlaneServer(site('gcp-scoped'), true),
    'go-control-plane': () => startGoControlPlaneServer(site('gcp'), false),
  };
  const only = flags.only?.split(',');
  const servers: AdsServer[] = [];
  const stop = async () => {
    for (const server of servers) await server.stop();
    await echo.stop();
  };
  try {
    for (const [name, start] of Object.entries(starts)) if (!only || only.includes(name)) servers.push(await start());
    return { servers, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function main(): Promise<void> {
  if (flags.help) return console.log(HELP);
  for (const name of ['fleet', 'gcp']) {
    const missing = missingPeerBinary(name);
    if (missing !== undefined) return console.log(`bench/fleet: skipped, ${missing}`);
  }
  const folder = mkdtempSync(join(tmpdir(), 'chancery-bench-fleet-'));
  const { path: envoy } = await installEnvoy({
    cacheDir: join(import.meta.dirname, '../../.cache/envoy'),
    envoyPath: process.env.ENVOY_PATH,
  });
  const sizes = flags.clients.split(',').map(Number);
  const machine = new SteadyMachine();
  console.log(
    `B8  one change to many delta-xDS clients, a table of ${flags.routes} routes; ${cpus().length} cores, Node ${process.version}`,
  );
  const floors = await measureFloors(folder, Math.max(...sizes), REST_MS);
  const { servers, stop } = await startServers(folder, Math.max(...sizes), envoy);
  try {
    const measured: Size[] = [];
    for (const clients of sizes) {
      measured.push(await measureSize(servers, clients, folder, machine));
      report(measured, machine.describe());
    }
    reportFloors(floors);
    if (flags.out === undefined) return;
    mkdirSync(dirname(flags.out), { recursive: true });
    const facts = { bench: 'fleet', at: new Date().toISOString(), node: process.version, cores: cpus().length, flags };
    const plain = measured.map((size) => ({
      ...size,
      alone: Object.fromEntries(size.alone),
      beside: size.beside === undefined ? null : Object.fromEntries(size.beside),
    }));
    writeFileSync(
      flags.out,
      `${JSON.stringify({ ...facts, calibrations: machine.calibrations, floorsKb: floors, sizes: plain }, null, 1)}\n`,
    );
  } finally {
    await stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { installEnvoy } from '#platform/envoy/binary.js';

import { lostCount } from '../../test/load/load-client.js';
import { median, quantile } from '../append/statistics.js';
import { calibrate } from '../machine/calibration.js';
import { startEchoService } from '../machine/echo-service.js';
import { probe } from '../peers/probe.js';
import { type Product, startProduct } from '../peers/product.js';
import { Certificates } from './certificates.js';
import { Changes } from './changes.js';
import { Clients } from './clients.js';
import { lanes } from './lanes.js';
import { measurePeers } from './peer-loss.js';
import { startWrk } from './wrk.js';

const HELP = `bench/loss (B3): requests lost through live changes, with the worker and the agent killed again and again

  --requests 1000000   at least so many
  --rate 1200          requests a second, half on new connections, half on kept ones, one of nine over TLS
  --changes 1000       live changes, spread over the time
  --kills 10           kill -9 of the worker, and as many of the agent
  --threads 2          of the clients
  --peers nginx,caddy  the same clients through 100 changes of these, for comparison; '' leaves them out
  --out FILE           everything that was measured, as JSON
`;

const { values: flags } = parseArgs({
  options: {
    requests: { type: 'string', default: '1000000' },
    rate: { type: 'string', default: '1200' },
    changes: { type: 'string', default: '1000' },
    kills: { type: 'string', default: '10' },
    threads: { type: 'string', default: '2' },
    peers: { type: 'string', default: 'nginx,caddy' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

/** Upstreams for routes to move to; a cluster comes back only after all the others had their turn. */
const UPSTREAMS = 64;

/** Kills the worker and the agent in turns, spread over the changes; the next only when bin/dev has started the last again. */
class Killer {
  readonly #product: Product;
  readonly #every: number;
  #busy: Promise<void> = Promise.resolve();
  #isBusy = false;
  #waiting = 0;
  readonly killed = { worker: 0, agent: 0 };
  readonly awayMs: number[] = [];

  constructor(product: Product, changes: number, kills: number) {
    this.#product = product;
    this.#every = kills === 0 ? Number.POSITIVE_INFINITY : changes / (2 * kills);
  }

  /** Called before each change; does not wait. */
  strike(n: number): void {
    if (Math.floor((n + 1) / this.#every) > Math.floor(n / this.#every)) this.#waiting += 1;
    if (this.#waiting > 0 && !this.#isBusy) this.#kill();
  }

  /** Waits for what was killed last, and makes up for strikes that had to wait too long. */
  async done(): Promise<void> {
    while (this.#waiting > 0 || this.#isBusy) {
      if (!this.#isBusy) this.#kill();
      await this.#busy;
    }
    await this.#busy;
  }

  #kill(): void {
    this.#waiting -= 1;
    this.#isBusy = true;
    const name = this.killed.worker <= this.killed.agent ? 'worker' : 'agent';
    const began = performance.now();
    this.#busy = this.#product.dev.killAndAwait(name).then(() => {
      this.killed[name] += 1;
      this.awayMs.push(performance.now() - began);
      this.#isBusy = false;
    });
    this.#busy.catch(() => undefined); // it is awaited in `done`
  }
}

async function main(): Promise<void> {
  if (flags.help) return console.log(HELP);
  const [requests, rate, count] = [Number(flags.requests), Number(flags.rate), Number(flags.changes)];
  const folder = mkdtempSync(join(tmpdir(), 'chancery-bench-loss-'));
  const { path: envoy } = await installEnvoy({
    cacheDir: join(import.meta.dirname, '../../.cache/envoy'),
    envoyPath: process.env.ENVOY_PATH,
  });
  const ownFolder = (name: string) => mkdtempSync(join(folder, `${name}-`));
  const calibration = calibrate();
  const echo = await startEchoService(folder, { ports: UPSTREAMS });
  try {
    const product = await startProduct({ folder, routes: 0, upstreamPort: echo.ports[0] ?? 0, ownAddress: undefined, envoy });
    try {
      const measured = await measure(product, { echoPorts: echo.ports, folder, requests, rate, count });
      const lost = report(measured, calibration);
      const upstreamPort = echo.ports[0] ?? 0;
      const peers = await measurePeers(
        flags.peers.split(','),
        (name) => ({ folder: ownFolder(name), routes: 8, upstreamPort, ownAddress: undefined, envoy }),
        rate,
      );
      if (flags.out !== undefined) {
        mkdirSync(dirname(flags.out), { recursive: true });
        const facts = { bench: 'loss', at: new Date().toISOString(), node: process.version, cores: cpus().length, flags, calibration };
        writeFileSync(flags.out, `${JSON.stringify({ ...facts, ...measured, peers }, null, 1)}\n`);
      }
      if (lost > 0) process.exitCode = 1;
    } finally {
      await product.stop();
    }
  } finally {
    await echo.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Run {
  readonly echoPorts: readonly number[];
  readonly folder: string;
  readonly requests: number;
  readonly rate: number;
  readonly count: number;
}

async function measure(product: Product, { echoPorts, folder, requests, rate, count }: Run) {
  const certificates = await Certificates.start(product);
  const changes = new Changes(product, certificates, echoPorts);
  await changes.prepare();
  await untilAllServe(product);
  const seconds = requests / rate;
  console.log(
    `B3  ${count} live changes in ${seconds.toFixed(0)} s at ${rate} requests/s; ${cpus().length} cores, Node ${process.version}`,
  );
  const clients = new Clients({ host: product.host, port: product.port, rate, lanes, tls: certificates.words }, Number(flags.threads));
  const url = `http://${product.host}:${product.port}/`;
  const wrk = startWrk({ folder, url, paths: lanes.map(({ path }) => path), seconds });
  const killer = new Killer(product, count, Number(flags.kills));
  const began = performance.now();
  const every = (seconds * 1000) / (count + 1);
  for (let n = 0; n < count; n++) {
    await sleep(Math.max(0, began + (n + 1) * every - performance.now()));
    killer.strike(n);
    await changes.make(n);
  }
  await killer.done();
  while ((await clients.answered()) < requests) await sleep(200);
  const totals = await clients.stop();
  const seen = changes.totals();
  return { clients: totals, wrk: await wrk, changes: seen, killed: killer.killed, awayMs: killer.awayMs, load: loadavg()[0] ?? 0 };
}

async function untilAllServe(product: Product): Promise<void> {
  for (const { path } of lanes) {
    const end = performance.now() + 60_000;
    while ((await probe(product.host, product.port, path)).status !== 200) {
      if (performance.now() > end) throw new Error(`${path} does not serve`);
      await sleep(20);
    }
  }
}

function report(
  { clients, wrk, changes, killed, awayMs, load }: Awaited<ReturnType<typeof measure>>,
  calibration: { fdatasyncMs: number; spinMs: number },
): number {
  const lost = lostCount(clients);
  console.log(
    `\nlimits: fdatasync ${calibration.fdatasyncMs.toFixed(3)} ms, spin ${calibration.spinMs.toFixed(1)} ms, load ${load.toFixed(1)}`,
  );
  console.log(`raw sockets: sent ${clients.sent}, lost ${lost} (goal 0)`);
  console.log(
    `  ${Object.entries(clients.outcomes)
      .map(([outcome, number]) => `${outcome} ${number}`)
      .join(', ')}`,
  );
  console.log(`  p50 ${clients.p50Ms.toFixed(2)} ms, p99 ${clients.p99Ms.toFixed(2)} ms, longest ${clients.maxMs.toFixed(0)} ms`);
  if (clients.worstLagMs > 100)
    console.log(`  the clients were up to ${clients.worstLagMs.toFixed(0)} ms late: the machine was too busy for this rate`);
  for (const each of clients.lost.slice(0, 10))
    console.log(`  ${each.atMs} ms: ${each.lane}, ${each.outcome} after ${each.tookMs} ms, ${each.detail}`);
  console.log(
    wrk === null
      ? 'wrk: not installed'
      : `wrk: ${wrk.requests} requests; connect ${wrk.connect}, read ${wrk.read}, write ${wrk.write}, timeout ${wrk.timeout}, wrong status ${wrk.wrongStatus}`,
  );
  console.log('changes:');
  for (const [what, number] of Object.entries(changes.made)) console.log(`  ${number} x ${what}`);
  console.log(
    `  seen to serve ${changes.seenLive}, p50 ${median(changes.liveMs).toFixed(1)} ms, p90 ${quantile(changes.liveMs, 0.9).toFixed(1)} ms; not within 30 s: ${changes.late.length === 0 ? 'none' : changes.late.join('; ')}`,
  );
  if (awayMs.length > 0)
    console.log(`killed: worker ${killed.worker} times, agent ${killed.agent} times; back after ${median(awayMs).toFixed(0)} ms`);
  return lost + (wrk === null ? 0 : wrk.connect + wrk.read + wrk.write + wrk.timeout + wrk.wrongStatus);
}

await main();

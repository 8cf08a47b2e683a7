import { closeSync, fdatasyncSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { startPostgres } from '#platform/postgres/embedded-postgres.js';

import { CONNECTIONS, type Contender, closeContenders, openContenders } from './contenders.js';
import { installPeers } from './peers.js';
import { median, quantile, ratio } from './statistics.js';

const { values: flags } = parseArgs({
  options: {
    blocks: { type: 'string', default: '6' },
    seconds: { type: 'string', default: '2' },
    callers: { type: 'string', default: '1,8,64' },
    only: { type: 'string' },
    out: { type: 'string' },
  },
});

interface Slot {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}
interface Calibration {
  readonly spinMs: number;
  readonly fdatasyncMs: number;
}

/** Whole slots of closed-loop callers: each sends its next append when the last is durable. */
async function measure(contender: Contender, callers: number, seconds: number): Promise<Slot> {
  const latencies: number[] = [];
  const began = performance.now();
  const end = began + seconds * 1000;
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (performance.now() < end) {
        const sent = performance.now();
        await contender.append();
        latencies.push(performance.now() - sent);
      }
    }),
  );
  return {
    perSecond: latencies.length / ((performance.now() - began) / 1000),
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
  };
}

/** What the machine gives at this moment, without any of the contenders. */
function calibrate(folder: string): Calibration {
  const spun = performance.now();
  let x = 0;
  for (let i = 0; i < 2e7; i++) x = (x * 31 + i) | 0;
  const spinMs = performance.now() - spun + (x === 42 ? 1 : 0);
  const fd = openSync(join(folder, 'calibration'), 'w');
  const page = Buffer.alloc(8192);
  const syncs: number[] = [];
  for (let i = 0; i < 100; i++) {
    writeSync(fd, page, 0, page.length, 0);
    const began = performance.now();
    fdatasyncSync(fd);
    syncs.push(performance.now() - began);
  }
  closeSync(fd);
  return { spinMs, fdatasyncMs: median(syncs) };
}

async function runBlocks(contenders: readonly Contender[], callers: number, folder: string) {
  const blocks = Number(flags.blocks);
  const slots = new Map(contenders.map(({ name }) => [name, [] as Slot[]]));
  const calibrations: Calibration[] = [];
  let rejected = 0;
  for (const contender of contenders) await measure(contender, callers, 0.5); // warm: plans, pools, pages
  for (let block = 0; block < blocks; ) {
    const calibration = calibrate(folder);
    const usual = calibrations.length ? median(calibrations.map(({ spinMs }) => spinMs)) : calibration.spinMs;
    if (calibration.spinMs > 1.5 * usual && rejected < 2 * blocks) {
      rejected += 1;
      continue;
    }
    calibrations.push(calibration);
    // A B B A: what drifts with time falls on both sides alike.
    for (const contender of block % 2 ? [...contenders].reverse() : contenders)
      slots.get(contender.name)!.push(await measure(contender, callers, Number(flags.seconds)));
    block += 1;
  }
  return { slots, calibrations, rejected };
}

function report(callers: number, result: Awaited<ReturnType<typeof runBlocks>>) {
  const { slots, calibrations, rejected } = result;
  const limit = (pick: (calibration: Calibration) => number) => median(calibrations.map(pick));
  console.log(
    `\n${callers} caller(s)   limits: fdatasync ${limit(({ fdatasyncMs }) => fdatasyncMs).toFixed(3)} ms, spin ${limit(({ spinMs }) => spinMs).toFixed(1)} ms, load ${loadavg()[0]!.toFixed(1)}, blocks rejected ${rejected}`,
  );
  const chancery = slots.get('chancery');
  const rows = [...slots].map(([name, measured]) => {
    const perSecond = measured.map((slot) => slot.perSecond);
    const against =
      chancery && name !== 'chancery'
        ? ratio(
            chancery.map((slot) => slot.perSecond),
            perSecond,
          )
        : undefined;
    const latency =
      chancery && name === 'raw'
        ? ratio(
            chancery.map((slot) => slot.p50Ms),
            measured.map((slot) => slot.p50Ms),
          )
        : undefined;
    const row = {
      name,
      perSecond: median(perSecond),
      p50Ms: median(measured.map((slot) => slot.p50Ms)),
      p99Ms: median(measured.map((slot) => slot.p99Ms)),
      chanceryOver: against,
      chanceryLatencyOver: latency,
    };
    const shown = (value: { ratio: number; low: number; high: number } | undefined) =>
      value ? `${value.ratio.toFixed(2)} [${value.low.toFixed(2)}, ${value.high.toFixed(2)}]` : '';
    console.log(
      `  ${name.padEnd(12)}${Math.round(row.perSecond).toString().padStart(8)}/s   p50 ${row.p50Ms.toFixed(2).padStart(7)} ms   p99 ${row.p99Ms.toFixed(2).padStart(7)} ms   chancery/this ${shown(against)}${latency ? `   latency ${shown(latency)}` : ''}`,
    );
    return row;
  });
  return { callers, calibrations, rejected, rows, slots: Object.fromEntries(slots) };
}

async function main(): Promise<void> {
  installPeers();
  const folder = mkdtempSync(join(tmpdir(), 'chancery-bench-append-'));
  const dataDir = mkdtempSync(join(tmpdir(), 'chancery-bench-postgres-'));
  const server = await startPostgres({ dataDir, settings: { max_wal_size: '8GB', checkpoint_timeout: '30min' } });
  try {
    const all = await openContenders(server);
    const only = flags.only?.split(',');
    const contenders = all.filter(({ name }) => !only || only.includes(name));
    console.log(
      `append, durable (fsync on), ${cpus().length} cores, Node ${process.version}, one Postgres; up to ${CONNECTIONS} connections, chancery shares commits on one`,
    );
    const results = [];
    for (const callers of flags.callers!.split(',').map(Number))
      results.push(report(callers, await runBlocks(contenders, callers, folder)));
    for (const contender of contenders) await contender.check();
    if (flags.out) {
      mkdirSync(join(flags.out, '..'), { recursive: true });
      writeFileSync(
        flags.out,
        `${JSON.stringify({ at: new Date().toISOString(), node: process.version, cores: cpus().length, seconds: Number(flags.seconds), results }, null, 1)}\n`,
      );
    }
    await closeContenders(server, all);
  } finally {
    await server.stop();
    for (const each of [folder, dataDir]) rmSync(each, { recursive: true, force: true });
  }
}

await main();

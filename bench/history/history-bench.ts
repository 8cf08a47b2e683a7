import { closeSync, existsSync, fdatasyncSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

import { openDatabase } from '#platform/database/database.js';
import { migrate } from '#platform/database/migrator.js';
import { createLog } from '#platform/log/log.js';
import { startPostgres } from '#platform/postgres/embedded-postgres.js';

import { fillLargeLog } from '../../test/load/large-log.js';
import { median, ratio } from '../append/statistics.js';

import type { Measurement, OpenPart, Prepared } from './measurement.js';

const { values: flags } = parseArgs({
  options: {
    events: { type: 'string', default: '1000000' },
    mappings: { type: 'string', default: '10000' },
    blocks: { type: 'string', default: '5' },
    only: { type: 'string' },
    out: { type: 'string' },
  },
});

/** One file each: what belongs to a part of the product that this tree does not have yet is left out, and says so. */
const parts = ['states', 'subject-history', 'audit-pages', 'rebuilds', 'audit-rebuild', 'verification'];

async function openParts(prepared: Prepared): Promise<Measurement[]> {
  const wanted = flags.only?.split(',');
  const measurements: Measurement[] = [];
  for (const part of parts.filter((name) => !wanted || wanted.includes(name))) {
    try {
      const { openPart } = (await import(`./${part}.ts`)) as { openPart: OpenPart };
      measurements.push(...(await openPart(prepared)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
      console.log(
        `  ${part}: skipped, because this tree does not have what it measures (${basename((error as Error).message.split("'")[1] ?? '')})`,
      );
    }
  }
  return measurements;
}

interface Calibration {
  readonly spinMs: number;
  readonly fdatasyncMs: number;
  readonly selectMs: number;
}

/** What the machine gives at this moment: to a loop, to a write that must be durable, and to a question without an answer to look for. */
async function calibrate(folder: string, { database }: Prepared): Promise<Calibration> {
  const spun = performance.now();
  let x = 0;
  for (let i = 0; i < 2e7; i++) x = (x * 31 + i) | 0;
  const spinMs = performance.now() - spun + (x === 42 ? 1 : 0);
  const fd = openSync(join(folder, 'calibration'), 'w');
  const page = Buffer.alloc(8192);
  const syncs: number[] = [];
  const selects: number[] = [];
  for (let i = 0; i < 50; i++) {
    writeSync(fd, page, 0, page.length, 0);
    const began = performance.now();
    fdatasyncSync(fd);
    const synced = performance.now();
    await database.pool.query('SELECT 1');
    syncs.push(synced - began);
    selects.push(performance.now() - synced);
  }
  closeSync(fd);
  return { spinMs, fdatasyncMs: median(syncs), selectMs: median(selects) };
}

interface Block {
  readonly productMs: number;
  readonly limitMs: number;
  readonly rows: number;
}

let turn = 0;

/** A B B A over the blocks, and within a block one run of each side after the other, so that what drifts falls on both. */
async function measureBlock(measurement: Measurement, block: number): Promise<Block> {
  await measurement.prepare?.();
  const times = { product: [] as number[], limit: [] as number[] };
  let rows = 0;
  for (let i = 0; i < measurement.times; i++) {
    turn += 1;
    const got = { product: 0, limit: 0 };
    for (const side of block % 2 ? (['limit', 'product'] as const) : (['product', 'limit'] as const)) {
      const began = performance.now();
      got[side] = await measurement[side](turn);
      times[side].push(performance.now() - began);
    }
    if (got.product !== got.limit) throw new Error(`${measurement.name}: ${got.product} rows, and ${got.limit} of its limit`);
    rows = got.product;
  }
  return { productMs: median(times.product), limitMs: median(times.limit), rows };
}

async function runBlocks(measurements: readonly Measurement[], folder: string, prepared: Prepared) {
  const blocks = Number(flags.blocks);
  const results = new Map(measurements.map(({ name }) => [name, [] as Block[]]));
  const calibrations: Calibration[] = [];
  let rejected = 0;
  // Warm: plans, pages, compiled code. What takes minutes warms itself.
  for (const measurement of measurements.filter(({ mostBlocks }) => mostBlocks === undefined)) await measureBlock(measurement, 0);
  for (let block = 0; block < blocks; ) {
    const calibration = await calibrate(folder, prepared);
    const usual = calibrations.length ? median(calibrations.map(({ spinMs }) => spinMs)) : calibration.spinMs;
    if (calibration.spinMs > 1.5 * usual && rejected < 2 * blocks) {
      rejected += 1;
      continue;
    }
    calibrations.push(calibration);
    for (const measurement of measurements)
      if (block < (measurement.mostBlocks ?? blocks)) results.get(measurement.name)?.push(await measureBlock(measurement, block));
    block += 1;
  }
  return { results, calibrations, rejected };
}

function report(measurements: readonly Measurement[], { results, calibrations, rejected }: Awaited<ReturnType<typeof runBlocks>>) {
  const limit = (pick: (calibration: Calibration) => number) => median(calibrations.map(pick)).toFixed(3);
  console.log(
    `\nlimits: fdatasync ${limit(({ fdatasyncMs }) => fdatasyncMs)} ms, select ${limit(({ selectMs }) => selectMs)} ms, spin ${limit(({ spinMs }) => spinMs)} ms, load ${loadavg()[0]?.toFixed(1)}, blocks rejected ${rejected}`,
  );
  return measurements.map(({ name, against, goal, isRate }) => {
    const blocks = results.get(name) ?? [];
    const [product, under] = [blocks.map(({ productMs }) => productMs), blocks.map(({ limitMs }) => limitMs)];
    const against_ = ratio(product, under);
    const rows = blocks[0]?.rows ?? 0;
    const row = { name, against, goal: goal ?? null, rows, productMs: median(product), limitMs: median(under), ...against_, blocks };
    const verdict = goal === undefined ? '' : `   goal ${goal}: ${against_.ratio <= goal ? 'reached' : 'MISSED'}`;
    const rate = isRate ? `   ${Math.round((rows / row.productMs) * 1000)} events/s` : '';
    console.log(
      `  ${name}\n    ${row.productMs.toFixed(2)} ms, ${against}: ${row.limitMs.toFixed(2)} ms, ratio ${against_.ratio.toFixed(2)} [${against_.low.toFixed(2)}, ${against_.high.toFixed(2)}]${verdict}${rate}`,
    );
    return row;
  });
}

async function main(): Promise<void> {
  const [events, mappings] = [Number(flags.events), Number(flags.mappings)];
  const folder = mkdtempSync(join(tmpdir(), 'chancery-bench-history-'));
  const dataDir = mkdtempSync(join(tmpdir(), 'chancery-bench-postgres-'));
  const server = await startPostgres({ dataDir, settings: { max_wal_size: '8GB', checkpoint_timeout: '30min', shared_buffers: '512MB' } });
  try {
    await migrate(server.ownerUrl);
    const [gateway, stream] = ['history', 'gateway/history'];
    const began = performance.now();
    await fillLargeLog(server.ownerUrl, { stream, events, subjects: mappings });
    console.log(
      `history: ${events} events of ${mappings} living mappings, one version each, filled in ${((performance.now() - began) / 1000).toFixed(1)} s; ${cpus().length} cores, Node ${process.version}, one Postgres`,
    );
    const database = openDatabase({ url: server.url, applicationName: 'bench-history', maxConnections: 4 });
    const log = createLog({ process: 'bench', level: 'error' });
    const prepared: Prepared = { database, ownerUrl: server.ownerUrl, gateway, stream, versions: events, mappings, log };
    try {
      const measurements = await openParts(prepared);
      const rows = report(measurements, await runBlocks(measurements, folder, prepared));
      if (flags.out) {
        const facts = { at: new Date().toISOString(), node: process.version, cores: cpus().length, events, mappings };
        if (!existsSync(dirname(flags.out))) mkdirSync(dirname(flags.out), { recursive: true });
        writeFileSync(flags.out, `${JSON.stringify({ ...facts, rows }, null, 1)}\n`);
      }
    } finally {
      await database.close();
    }
  } finally {
    await server.stop();
    for (const each of [folder, dataDir]) rmSync(each, { recursive: true, force: true });
  }
}

await main();

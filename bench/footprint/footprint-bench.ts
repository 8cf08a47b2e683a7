import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { defaultSettings } from '#features/gateway/gateway.js';
import { openDatabase } from '#platform/database/database.js';
import { migrate } from '#platform/database/migrator.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import { startPostgres } from '#platform/postgres/embedded-postgres.js';

import { ScriptedAgent } from '../../apps/worker/src/scripted-agent.fixture.js';
import { median } from '../append/statistics.js';

const { values: flags } = parseArgs({
  options: {
    mappings: { type: 'string', default: '100000' },
    services: { type: 'string', default: '1000' },
    changes: { type: 'string', default: '50' },
    out: { type: 'string' },
  },
});
const [mappings, services, changes] = [Number(flags.mappings), Number(flags.services), Number(flags.changes)];
const TOKEN = randomUUID();

interface Figures {
  readonly rss: number;
  readonly heapUsed: number;
  readonly external: number;
  /** Of all its threads, since it began. */
  readonly cpuMs: number;
  readonly stallMs: number;
  readonly p99Ms: number;
}

/** The worker in its own process, asked over its stdin. */
class WatchedWorker {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(databaseUrl: string) {
    const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
    const words = ['--max-semi-space-size=4', here('watched-worker.ts'), databaseUrl, TOKEN];
    this.#child = spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  }

  async ready(): Promise<number> {
    return ((await this.#next()) as { port: number }).port;
  }

  async figures(): Promise<Figures> {
    this.#child.stdin?.write('figures\n');
    return (await this.#next()) as Figures;
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.stdin?.write('end\n');
    await ended;
  }

  async #next(): Promise<object> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('the worker ended');
    return JSON.parse(value) as object;
  }
}

const state = (i: number, rewrite = '/') => ({
  name: `m${i}`,
  host: '*',
  prefix: `/team-${i % 200}-${i}/`,
  path: null,
  service: `10.${(i % services) >> 8}.${(i % services) & 255}.7:8080`,
  rewrite,
  methods: [],
  headers: {},
  precedence: 0,
  timeoutMs: 5_000,
  labels: { team: `team-${i % 200}` },
});

async function fill(events: EventStore): Promise<void> {
  const write = (made: { type: string; subject: string; state: object }[], action: string) =>
    events.handle(
      {
        stream: 'gateway/default',
        subjects: made.map(({ subject }) => subject),
        context: { commandId: randomUUID(), action, actor: 'bench' },
      },
      () => made.map((event) => ({ ...event, schemaVersion: 1, state: event.state as never })),
    );
  const settings = JSON.parse(JSON.stringify({ ...defaultSettings, delivery: 'live' })) as object;
  await write([{ type: 'GatewayCreated', subject: 'gateway', state: settings }], 'CreateGateway');
  for (let from = 0; from < mappings; from += 20_000) {
    const some = Array.from({ length: Math.min(20_000, mappings - from) }, (_, n) => from + n);
    await write(
      some.map((i) => ({ type: 'MappingCreated', subject: `mapping/m${i}`, state: state(i) })),
      'ImportConfiguration',
    );
  }
}

/** Until the agent has the release that this waits for, asked in each turn of the event loop. */
async function until(condition: () => boolean): Promise<number> {
  const startedMs = performance.now();
  while (!condition()) {
    if (performance.now() - startedMs > 60_000) throw new Error('not within a minute');
    await new Promise((resolve) => setImmediate(resolve));
  }
  return performance.now() - startedMs;
}

const megabytes = (bytes: number) => Math.round(bytes / 1e5) / 10;
const rounded = (ms: number) => Math.round(ms * 10) / 10;

async function run(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'chancery-footprint-'));
  const postgres = await startPostgres({ dataDir: folder });
  const database = openDatabase({ url: postgres.url, applicationName: 'bench' });
  try {
    await migrate(postgres.ownerUrl);
    const events = new EventStore({ database });
    await fill(events);
    const startedMs = performance.now();
    const worker = new WatchedWorker(postgres.url);
    const port = await worker.ready();
    const readyMs = performance.now() - startedMs;
    const agent = new ScriptedAgent({ target: 'edge-1', gateway: 'default', token: TOKEN });
    await agent.connect(port);
    await until(() => agent.live.releases.length > 0);
    const firstPushMs = performance.now() - startedMs;
    const start = await worker.figures();
    const times: number[] = [];
    for (let n = 0; n < changes; n++) {
      const i = (n * 7919) % mappings;
      const before = agent.live.releases.length;
      const context = { commandId: randomUUID(), action: 'UpdateMapping', actor: 'bench' };
      const subject = `mapping/m${i}`;
      await events.handle({ stream: 'gateway/default', subjects: [subject], context }, () => [
        { type: 'MappingUpdated', schemaVersion: 1, subject, state: state(i, `/v${n}/`) as never },
      ]);
      times.push(await until(() => agent.live.releases.length > before));
    }
    const steady = await worker.figures();
    const release = agent.live.releases.at(-1);
    const result = {
      bench: 'footprint',
      at: new Date().toISOString(),
      cpus: cpus().length,
      load: loadavg()[0],
      node: process.version,
      mappings,
      services,
      listeningMs: Math.round(readyMs),
      firstPushMs: Math.round(firstPushMs),
      start: {
        rssMB: megabytes(start.rss),
        heapMB: megabytes(start.heapUsed),
        cpuMs: Math.round(start.cpuMs),
        longestStallMs: rounded(start.stallMs),
      },
      changes: {
        count: changes,
        commitToAgentMs: { p50: rounded(median(times)), worst: rounded(Math.max(...times)) },
        resources: release?.changed.length,
        rssMB: megabytes(steady.rss),
        longestStallMs: rounded(steady.stallMs),
      },
    };
    console.log(JSON.stringify(result, null, 2));
    if (flags.out !== undefined) writeFileSync(flags.out, `${JSON.stringify(result)}\n`);
    agent.close();
    await worker.end();
    await events.close();
  } finally {
    await database.close();
    await postgres.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

await run();

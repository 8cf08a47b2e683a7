import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { type LoadResult, type RunningLoad, startLoad } from '../load/load-client.js';
import { DevHarness, newDataDir, type StartDevOptions } from '../support/dev-harness.js';

import { type Cell, type Delivery, deadlineMs } from './cells.js';
import { createWriter, type Writer } from './history.js';

export interface CellResult {
  readonly cell: Cell;
  readonly reached: boolean;
  /** From the moment the victim was struck (or resumed) to the first right answer with a change made after that. */
  readonly convergedMs: number;
  readonly load: LoadResult;
  /** Revisions that a client saw after a higher one. */
  readonly wentBack: readonly string[];
}

const POINT_DEADLINE_MS = 40_000;
const CONVERGE_DEADLINE_MS = 60_000;

/**
 * The whole product with traffic on it: an echo service, the mapping `stable` that never changes, and the mapping `canary` whose rewrite carries a revision.
 */
export class HouseUnderFire {
  readonly #failpoints: string;
  readonly #data: string;
  readonly #echo: Server;
  #dev: DevHarness;
  /** The write that is under way, or was last. */
  #writing: Promise<unknown> = Promise.resolve();
  readonly writer: Writer;

  private constructor(dev: DevHarness, echo: Server, data: string, failpoints: string) {
    this.#dev = dev;
    this.#echo = echo;
    this.#data = data;
    this.#failpoints = failpoints;
    const { port } = echo.address() as AddressInfo;
    this.writer = createWriter({ api: () => this.#dev.ready.api, token: () => this.#dev.ready.token, service: `127.0.0.1:${port}` });
  }

  static async start(delivery: Delivery): Promise<HouseUnderFire> {
    const failpoints = mkdtempSync(join(tmpdir(), 'chancery-failpoints-'));
    for (const process of ['api', 'projector', 'worker', 'agent']) mkdirSync(join(failpoints, process));
    const data = newDataDir();
    const echo = createServer((request, response) => response.end(request.url));
    await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
    const dev = await DevHarness.start(options(data, failpoints));
    const house = new HouseUnderFire(dev, echo, data, failpoints);
    try {
      // The shortest window in which busy connections lose nothing: each cell waits for two of them.
      const window = { delivery, drainTimeS: 1, parentShutdownTimeS: 3, idleTimeoutMs: 1_500, defaultTimeoutMs: 1_500 };
      const set = await dev.api('/v1/gateways/default/settings', { method: 'PATCH', body: window });
      if (set.status !== 200) throw new Error(`the settings were not accepted: ${set.status} ${set.text}`);
      const { port } = echo.address() as AddressInfo;
      const made = await dev.api('/v1/gateways/default/mappings/stable', {
        method: 'PUT',
        body: { prefix: '/stable/', service: `127.0.0.1:${port}` },
      });
      if (made.status >= 300) throw new Error(`the mapping stable was not accepted: ${made.status} ${made.text}`);
      await house.writer.writeNext(20_000);
      await dev.until(
        () => dev.through('/stable/x'),
        (answer) => answer.text === '/x',
      );
      await house.#untilServed(house.writer.accepted, CONVERGE_DEADLINE_MS);
      return house;
    } catch (error) {
      await house.dispose();
      throw error;
    }
  }

  get database(): string {
    return this.#dev.ready.database;
  }

  get dev(): DevHarness {
    return this.#dev;
  }

  /** Runs one cell: arm, write until the point is reached, strike, heal, converge. */
  async run(cell: Cell): Promise<CellResult> {
    const load = this.#startLoad();
    const sampler = this.#sampleRevisions();
    const marker = join(this.#failpoints, cell.process, cell.point);
    try {
      const pids = this.#pidsOf(cell);
      writeFileSync(marker, `${cell.action} ${cell.victim === cell.process ? '' : pids.join(' ')}`.trim());
      const reached = await this.#writeUntil(() => existsSync(`${marker}.reached`), POINT_DEADLINE_MS);
      const struckAt = performance.now();
      if (reached && cell.action === 'stop') {
        await sleep(3 * deadlineMs[cell.victim]); // the fault itself: it lasts this long
        for (const pid of pids) resume(pid);
      }
      if (reached && cell.action === 'kill' && cell.victim === 'dev') await this.#startAgain();
      const healedAt = cell.action === 'stop' ? performance.now() : struckAt;
      const convergedMs = await this.#converge(healedAt);
      return { cell, reached, convergedMs, load: await load.stop(), wentBack: await sampler.stop() };
    } finally {
      rmSync(marker, { force: true });
      rmSync(`${marker}.reached`, { force: true });
      await load.stop();
      await sampler.stop();
    }
  }

  /** Waits until the projector has everything, so that tables can be compared with the log. */
  async quiesce(): Promise<void> {
    const until = performance.now() + CONVERGE_DEADLINE_MS;
    for (;;) {
      const { json } = await this.#dev.api('/v1/gateways/default/targets');
      const [target] = (json as { items?: { desiredVersion: number; provenVersion: number }[] }).items ?? [];
      if (target !== undefined && target.desiredVersion === target.provenVersion) return;
      if (performance.now() > until) throw new Error(`the target is at ${target?.provenVersion} of ${target?.desiredVersion}`);
      await sleep(100);
    }
  }

  async dispose(): Promise<void> {
    await this.#dev.dispose();
    this.#echo.closeAllConnections();
    await new Promise((resolve) => this.#echo.close(resolve));
    rmSync(this.#failpoints, { recursive: true, force: true });
    rmSync(this.#data, { recursive: true, force: true });
  }

  #startLoad(): RunningLoad {
    const { hostname, port } = new URL(this.#dev.ready.gateway);
    return startLoad({
      host: hostname,
      port: Number(port),
      path: '/stable/x',
      rate: 50,
      lanes: ['new', 'busy'],
      timeoutMs: 8_000,
      expect: (status, body) => (status !== 200 ? 'wrong status' : body === '/x' ? 'ok' : 'wrong body'),
    });
  }

  /** Asks for the canary on new connections, one after the other, and notes a revision that is lower than one whose answer had come before the question. */
  #sampleRevisions(): { stop(): Promise<readonly string[]> } {
    const wentBack: string[] = [];
    let running = true;
    let highest = 0;
    const done = (async () => {
      while (running) {
        const seen = await this.#servedRevision();
        if (seen !== undefined && seen < highest) wentBack.push(`revision ${seen} after ${highest}`);
        highest = Math.max(highest, seen ?? 0);
        await sleep(20);
      }
      return wentBack;
    })();
    return {
      stop: () => {
        running = false;
        return done;
      },
    };
  }

  async #servedRevision(): Promise<number | undefined> {
    try {
      const answer = await this.#dev.through('/canary/x', { deadlineMs: 5_000 });
      const match = /^\/revision-(\d+)\/x$/.exec(answer.text);
      return match === null ? undefined : Number(match[1]);
    } catch {
      return undefined; // whether traffic may fail is for the load on `stable` to say
    }
  }

  async #writeUntil(condition: () => boolean, deadlineMs_: number): Promise<boolean> {
    const end = performance.now() + deadlineMs_;
    while (performance.now() < end) {
      this.#writing = this.writer.writeNext(end - performance.now());
      await Promise.race([this.#writing, until(condition, end)]);
      if (await until(condition, Math.min(end, performance.now() + 3_000))) {
        // The write that met the fault is carried to its end by the retries with its key; converge() waits for it.
        return true;
      }
      await this.#writing;
    }
    return condition();
  }

  async #converge(healedAt: number): Promise<number> {
    await this.#writing; // both at once, the older revision may be recorded last, and is then what is to be served
    const attempt = await this.writer.writeNext(CONVERGE_DEADLINE_MS);
    if (attempt.outcome !== 'accepted')
      throw new Error(`no change was accepted for ${CONVERGE_DEADLINE_MS} ms after the fault: ${attempt.outcome}`);
    await this.#untilServed(attempt.revision, CONVERGE_DEADLINE_MS);
    return performance.now() - healedAt;
  }

  async #untilServed(revision: number, deadline: number): Promise<void> {
    const end = performance.now() + deadline;
    for (;;) {
      const seen = await this.#servedRevision();
      if (seen !== undefined && seen >= revision) return;
      if (performance.now() > end) throw new Error(`revision ${revision} is not served after ${deadline} ms; the gateway serves ${seen}`);
      await sleep(20);
    }
  }

  async #startAgain(): Promise<void> {
    await this.#dev.exit(10_000);
    this.#dev = await DevHarness.start(options(this.#data, this.#failpoints));
  }

  #pidsOf(cell: Cell): number[] {
    if (cell.victim === 'dev') return [this.#dev.pid];
    const pid = this.#dev.pidOf(cell.victim);
    return cell.victim === 'postgres' && cell.action === 'stop' ? [...childrenOf(pid), pid] : [pid];
  }
}

function options(data: string, failpoints: string): StartDevOptions {
  return { data, args: ['--no-demo'], env: { CHANCERY_FAILPOINT_DIR: failpoints } };
}

async function until(condition: () => boolean, end: number): Promise<boolean> {
  while (!condition() && performance.now() < end) await sleep(5);
  return condition();
}

function resume(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // a server process that ended meanwhile needs no waking
  }
}

function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent;
      } catch {
        return false; // it ended while we looked
      }
    })
    .map(Number);
}

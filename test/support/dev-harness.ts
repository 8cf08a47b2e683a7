import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { identifyProcess } from '#platform/envoy/process-identity.js';

import { endProcesses, findEnvoys, findOrphans } from '../../apps/cli/src/dev/orphans.js';

export const checkout = fileURLToPath(new URL('../..', import.meta.url));

/** One line of `bin/dev --json`. */
export type DevEvent = Readonly<Record<string, unknown>> & { readonly event: string };

export interface DevReady {
  readonly api: string;
  readonly gateway: string;
  /** Where the gateway takes TLS, once there is a certificate. */
  readonly tls: string;
  readonly token: string;
  readonly data: string;
  readonly database: string;
  readonly usersvc?: string;
  readonly walkthrough?: readonly { readonly say: string; readonly line: string }[];
  readonly processes: Readonly<Record<string, number>>;
  readonly ms: number;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  /** The body as JSON; undefined when it is none. */
  readonly json: unknown;
}

export interface HttpRequest {
  readonly method?: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly token?: string;
  readonly deadlineMs?: number;
}

export interface StartDevOptions {
  /** A folder to use again; a new one by default, which `dispose` removes. */
  readonly data?: string;
  /** Further arguments, after `--json --data DIR` and the three ports. */
  readonly args?: readonly string[];
  /** The API's, the gateway's and the TLS port; by default free ones that the folder then keeps. */
  readonly ports?: { readonly api?: number; readonly http?: number; readonly https?: number };
  readonly env?: Readonly<Record<string, string>>;
  /** Another way to start it: the command before `bin/dev` (`setpriv ...`). */
  readonly prefix?: readonly string[];
}

export function newDataDir(): string {
  return mkdtempSync(join(tmpdir(), 'chancery-dev-test-'));
}

/**
 * A `bin/dev --json` under test: the real command, as a process of its own. Every wait has a deadline and reports what was printed. Call `dispose` in
 * any case: it ends what is left of the data folder's processes, also after kill(), and removes the folder.
 */
export class DevHarness {
  readonly data: string;
  readonly events: DevEvent[] = [];
  readonly #child: ChildProcess;
  readonly #exited: Promise<number | string>;
  #stderr = '';
  #ready: DevReady | undefined;
  readonly #pids = new Map<string, number>();

  private constructor(options: StartDevOptions) {
    this.data = options.data ?? newDataDir();
    const { api = 0, http = 0, https = 0 } = options.ports ?? {};
    const ports = ['--api-port', `${api}`, '--http-port', `${http}`, '--https-port', `${https}`];
    const words = [...(options.prefix ?? []), join(checkout, 'bin/dev'), '--json', '--data', this.data, ...ports, ...(options.args ?? [])];
    this.#child = spawn(words[0] as string, words.slice(1), {
      cwd: tmpdir(),
      env: { ...cleanEnvironment(), ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#exited = new Promise((resolve) => this.#child.once('close', (code, signal) => resolve(signal ?? code ?? 'unknown')));
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr += chunk.toString();
    });
    createInterface({ input: this.#child.stdout as NonNullable<ChildProcess['stdout']> }).on('line', (line) => this.#read(line));
  }

  /** Starts it without waiting for anything. */
  static launch(options: StartDevOptions = {}): DevHarness {
    return new DevHarness(options);
  }

  /** Starts it and waits until it is ready. */
  static async start(options: StartDevOptions = {}): Promise<DevHarness> {
    const harness = new DevHarness(options);
    try {
      await harness.untilReady();
      return harness;
    } catch (error) {
      await harness.dispose();
      throw error;
    }
  }

  get ready(): DevReady {
    if (this.#ready === undefined) throw new Error('bin/dev is not ready yet');
    return this.#ready;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** The supervisor's own. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The current pid of a process of the house, as the newest event told it. */
  pidOf(name: string): number {
    const pid = this.#pids.get(name);
    if (pid === undefined) throw new Error(`no process ${name}`);
    return pid;
  }

  async untilReady(deadlineMs = 120_000): Promise<DevReady> {
    await this.untilEvent((event) => event.event === 'ready', deadlineMs);
    return this.ready;
  }

  /** The first event from number `from` on that fits; waits for it. Fails when bin/dev ends before it. */
  async untilEvent(fits: (event: DevEvent) => boolean, deadlineMs = 60_000, from = 0): Promise<DevEvent> {
    const ended = this.#exited.then((how) => ({ how }));
    const end = performance.now() + deadlineMs;
    for (;;) {
      const found = this.events.slice(from).find(fits);
      if (found !== undefined) return found;
      const left = end - performance.now();
      const outcome = await Promise.race([ended, sleep(Math.min(50, Math.max(1, left)), null)]);
      if (outcome !== null && this.events.slice(from).find(fits) === undefined)
        throw new Error(`bin/dev ended (${outcome.how}) before the event\n${this.#said()}`);
      if (left <= 0) throw new Error(`no such event within ${deadlineMs} ms\n${this.#said()}`);
    }
  }

  /** Kills a process of the house and waits until bin/dev says that it runs again. @returns the new pid */
  async killAndAwait(name: string, signal: NodeJS.Signals = 'SIGKILL', deadlineMs = 60_000): Promise<number> {
    const from = this.events.length;
    process.kill(this.pidOf(name), signal);
    const restarted = await this.untilEvent((event) => event.event === 'restarted' && event.process === name, deadlineMs, from);
    return Number(restarted.pid);
  }

  /** A request to the API with the token of this run (or `token`, '' for none). */
  api(path: string, options: HttpRequest = {}): Promise<HttpAnswer> {
    const token = options.token ?? this.ready.token;
    return send(this.ready.api + path, {
      ...options,
      headers: { ...(token === '' ? {} : { authorization: `Bearer ${token}` }), ...options.headers },
    });
  }

  /** A request through the gateway, on a connection of its own. */
  through(path: string, options: HttpRequest = {}): Promise<HttpAnswer> {
    return send(this.ready.gateway + path, options);
  }

  /** Asks again and again until the answer fits. */
  async until(ask: () => Promise<HttpAnswer>, fits: (answer: HttpAnswer) => boolean, deadlineMs = 20_000): Promise<HttpAnswer> {
    const end = performance.now() + deadlineMs;
    for (;;) {
      const answer = await ask();
      if (fits(answer)) return answer;
      if (performance.now() > end)
        throw new Error(`not within ${deadlineMs} ms; the last answer was ${answer.status} ${answer.text.slice(0, 500)}`);
      await sleep(50);
    }
  }

  /** SIGTERM (or another), and how it ended: the exit status, or the signal's name. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', deadlineMs = 60_000): Promise<number | string> {
    this.#child.kill(signal);
    return this.exit(deadlineMs);
  }

  /** kill -9 of bin/dev itself; what it started is left as it may be. */
  async kill(): Promise<void> {
    await this.stop('SIGKILL');
  }

  async exit(deadlineMs = 60_000): Promise<number | string> {
    const late = sleep(deadlineMs, 'late' as const, { ref: false });
    const how = await Promise.race([this.#exited, late]);
    if (how === 'late') throw new Error(`bin/dev did not end within ${deadlineMs} ms\n${this.#said()}`);
    return how;
  }

  /** Every process of this data folder that runs now, as `name pid`; empty after a clean end. */
  leftovers(): string[] {
    const postgres = this.#postmaster();
    return [
      ...findOrphans(this.data).map(({ name, process: { pid } }) => `${name} ${pid}`),
      ...findEnvoys(this.data).map(({ pid }) => `envoy ${pid}`),
      ...(postgres === undefined ? [] : [`postgres ${postgres}`]),
    ];
  }

  /** Ends bin/dev if it still runs: by SIGTERM, after 30 s by SIGKILL. Two on one folder: halt both before either is disposed of. */
  async halt(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGTERM');
    await this.exit(30_000).catch(() => this.kill());
  }

  /** Ends whatever is left and removes the folder (unless `keep`). */
  async dispose(options: { keep?: boolean } = {}): Promise<void> {
    await this.halt();
    const postgres = this.#postmaster();
    const server = postgres === undefined ? null : identifyProcess(postgres);
    await endProcesses([...findOrphans(this.data).map((orphan) => orphan.process), ...findEnvoys(this.data)], 5_000);
    if (server !== null) {
      process.kill(server.pid, 'SIGINT');
      await endProcesses([server], 10_000);
    }
    if (options.keep) return;
    const link = join(this.data, 'pg/postgres'); // the database of a folder that Postgres' user cannot enter lies elsewhere
    if (existsSync(link)) rmSync(realpathSync(link), { recursive: true, force: true });
    rmSync(this.data, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }

  #postmaster(): number | undefined {
    const file = [join(this.data, 'pg/data/postmaster.pid'), join(this.data, 'pg/postgres/data/postmaster.pid')].find(existsSync);
    if (file === undefined) return undefined;
    const pid = Number(readFileSync(file, 'utf8').split('\n')[0]);
    return identifyProcess(pid) === null ? undefined : pid;
  }

  #read(line: string): void {
    let event: DevEvent;
    try {
      event = JSON.parse(line) as DevEvent;
    } catch {
      throw new Error(`bin/dev --json printed a line that is no JSON: ${line}`);
    }
    this.events.push(event);
    if (event.event === 'ready') {
      this.#ready = event as unknown as DevReady;
      for (const [name, pid] of Object.entries(this.#ready.processes)) this.#pids.set(name, pid);
    }
    if (event.event === 'restarted') this.#pids.set(String(event.process), Number(event.pid));
    if (event.event === 'envoy') this.#pids.set('envoy', Number(event.pid));
  }

  #said(): string {
    return `${this.events
      .map((event) => JSON.stringify(event))
      .slice(-40)
      .join('\n')}\n${this.#stderr.slice(-4000)}`;
  }
}

/** One HTTP request on a connection of its own, within a deadline (10 s). Rejects when there is no answer. */
export function send(url: string, options: HttpRequest = {}): Promise<HttpAnswer> {
  const body = options.body === undefined ? undefined : typeof options.body === 'string' ? options.body : JSON.stringify(options.body);
  return new Promise((resolve, reject) => {
    const headers = {
      ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) }),
      ...options.headers,
    };
    const asked = request(
      url,
      { method: options.method ?? 'GET', headers, agent: false, timeout: options.deadlineMs ?? 10_000 },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: parse(text) });
        });
      },
    );
    asked.on('timeout', () => asked.destroy(new Error(`no answer from ${url} in time`)));
    asked.on('error', reject);
    asked.end(body);
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What a terminal would have: nothing that jest or an outer run has set for itself. */
function cleanEnvironment(): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    (entry): entry is [string, string] =>
      entry[1] !== undefined && !/^(NODE_OPTIONS|JEST_|CHANCERY_|DATABASE_URL$|REDIS_URL$|npm_)/.test(entry[0]),
  );
  return Object.fromEntries(kept);
}

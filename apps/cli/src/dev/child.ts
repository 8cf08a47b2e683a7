import { type ChildProcess, spawn } from 'node:child_process';
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';

import { identifyProcess, isRunning, type ProcessIdentity, signalProcess } from '#platform/envoy/process-identity.js';

import { type BoundedLog, openBoundedLog } from './bounded-log.js';
import { endProcesses } from './orphans.js';

/** How one process of the house is run. */
export interface ChildSpec {
  readonly name: string;
  readonly script: string;
  readonly env: Readonly<Record<string, string>>;
  /** Carries traffic: it goes on when the supervisor is killed, and the next supervisor adopts it. */
  readonly outlivesSupervisor: boolean;
}

export interface ChildObserver {
  /** The process said that it is ready. `first` is false after a restart. */
  onReady(child: Child, first: boolean): void;
  onDeath(child: Child, death: { pid: number; how: string; retryInMs: number }): void;
  /** Any other line of JSON that it printed. */
  onLine(child: Child, line: Readonly<Record<string, unknown>>): void;
}

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 10_000;
const CALM_MS = 20_000; // after running this long, a death counts as the first again
const WATCH_EVERY_MS = 200;

/**
 * One process, kept running. It is
 *   starting   from its spawn until it prints `{"event":"ready"}`;
 *   running    until it dies, which leads to
 *   resting    until the back-off is over (100 ms, doubled at each death in a row, 10 s at most, for ever): starting again;
 *   stopped    from any of these, by stop().
 * An adopted one (started by an earlier supervisor) begins as running; when it dies it is like any other.
 */
export class Child {
  readonly spec: ChildSpec;
  #state: 'starting' | 'running' | 'resting' | 'stopped' = 'stopped';
  #identity: ProcessIdentity | undefined;
  #handle: ChildProcess | undefined;
  #wasReady = false;
  #deaths = 0;
  #readyAt = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #log: BoundedLog;
  readonly #observer: ChildObserver;
  readonly #preload: string;

  /** @param options.preload the module that ends the process with the supervisor, as a file URL */
  constructor(spec: ChildSpec, options: { logPath: string; observer: ChildObserver; preload: string }) {
    this.spec = spec;
    this.#log = openBoundedLog(options.logPath);
    this.#observer = options.observer;
    this.#preload = options.preload;
  }

  get state() {
    return this.#state;
  }

  get pid(): number | undefined {
    return this.#identity?.pid;
  }

  /** Deaths in a row. */
  get deaths(): number {
    return this.#deaths;
  }

  get logPath(): string {
    return this.#log.path;
  }

  start(): void {
    this.#state = 'starting';
    const { script, env, outlivesSupervisor } = this.spec;
    const preload = outlivesSupervisor ? [] : ['--import', this.#preload];
    const handle = spawn(process.execPath, ['--enable-source-maps', ...preload, script], {
      env: { ...env },
      cwd: '/',
      detached: true, // out of the terminal's process group: Ctrl-C reaches the supervisor alone, which ends the others in order
      stdio: ['ignore', 'pipe', this.#log.fd, outlivesSupervisor ? 'ignore' : 'pipe'],
    });
    this.#handle = handle;
    this.#identity = handle.pid === undefined ? undefined : (identifyProcess(handle.pid) ?? undefined);
    handle.once('error', (error) => this.#died(handle, error.message));
    handle.once('exit', (code, signal) => this.#died(handle, signal ?? `exit status ${code}`));
    createInterface({ input: handle.stdout as NonNullable<typeof handle.stdout> }).on('line', (line) => this.#read(line));
  }

  /** Takes over a running one; its exit is seen by looking, as it is no child of ours. */
  adopt(identity: ProcessIdentity): void {
    this.#identity = identity;
    this.#becomeReady();
    this.#timer = setInterval(() => {
      if (isRunning(identity)) return;
      clearInterval(this.#timer);
      this.#died(undefined, 'it was adopted, so its exit status is unknown');
    }, WATCH_EVERY_MS);
  }

  /** Ends it and starts it no more: SIGTERM, after the deadline SIGKILL. Answers false when it had to be killed. */
  async stop(deadlineMs: number): Promise<boolean> {
    clearTimeout(this.#timer);
    clearInterval(this.#timer);
    this.#state = 'stopped';
    const killed = this.#identity === undefined ? [] : await endProcesses([this.#identity], deadlineMs);
    this.#log.close();
    return killed.length === 0;
  }

  /** For the impatient: SIGKILL. stop(), which is running, then finds it gone. */
  kill(): void {
    if (this.#identity !== undefined) signalProcess(this.#identity, 'SIGKILL');
  }

  #becomeReady(): void {
    const first = !this.#wasReady;
    this.#state = 'running';
    this.#wasReady = true;
    this.#readyAt = performance.now();
    this.#observer.onReady(this, first);
  }

  #read(line: string): void {
    const event = parseEvent(line);
    if (event === undefined) writeSync(this.#log.fd, `${line}\n`);
    else if (event.event === 'ready' && this.#state === 'starting') this.#becomeReady();
    else this.#observer.onLine(this, event);
  }

  #died(handle: ChildProcess | undefined, how: string): void {
    if (this.#state === 'stopped' || this.#state === 'resting' || (handle !== undefined && handle !== this.#handle)) return;
    const calm = this.#state === 'running' && performance.now() - this.#readyAt > CALM_MS;
    this.#deaths = calm ? 1 : this.#deaths + 1;
    this.#state = 'resting';
    const retryInMs = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(this.#deaths - 1, 10));
    this.#timer = setTimeout(() => this.start(), retryInMs);
    const pid = this.#identity?.pid ?? 0;
    this.#identity = undefined;
    this.#observer.onDeath(this, { pid, how, retryInMs });
  }
}

function parseEvent(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && 'event' in value ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined; // text that only looks like JSON: it goes to the log as it is
  }
}

import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import type { DevConfig } from '#platform/config/dev-config.js';
import { installEnvoy } from '#platform/envoy/binary.js';
import { identifyProcess, isRunning, type ProcessIdentity } from '#platform/envoy/process-identity.js';
import { ensureKeyFile } from '#platform/vault/key-file.js';

import { Child, type ChildObserver } from './child.js';
import { describeChildren, type HouseFacts, TARGET, writeServices } from './children.js';
import { type DataFolder, type DevState, openDataFolder, readState, writePrivately, writeState } from './data-folder.js';
import { type DataLock, lockData } from './data-lock.js';
import { DatabaseKeeper } from './database-keeper.js';
import { type DevDatabase, openUsersvcDatabase } from './dev-database.js';
import { DevError } from './dev-error.js';
import { ensureDevGateway } from './dev-gateway.js';
import type { DevOptions } from './dev-options.js';
import { choosePorts, type Ports } from './dev-ports.js';
import { ensureTokens } from './dev-token.js';
import { houseChecks } from './house-readiness.js';
import { endProcesses, findEnvoys } from './orphans.js';
import { untilReady } from './readiness.js';
import type { Reporter } from './reporter.js';
import { type Inheritance, takeOver } from './takeover.js';
import { readyText, walkthrough } from './walkthrough.js';

const root = fileURLToPath(new URL('../../../../../', import.meta.url)); // from dist/apps/cli/src/dev/
const preload = new URL('./end-with-supervisor.js', import.meta.url).href;

const READY_DEADLINE_MS = 120_000;
const STOP_DEADLINE_MS = 10_000;

/**
 * Runs the whole house on this machine: start(), then until stop() it keeps every process running and says what happens. Nothing of it outlives stop().
 * When it is killed itself, the data is untouched, traffic goes on, and the next start takes over (see takeover.ts).
 */
export class Supervisor {
  readonly #options: DevOptions;
  readonly #config: DevConfig;
  readonly #reporter: Reporter;
  readonly #began = performance.now();
  #lock: DataLock | undefined;
  #folder: DataFolder | undefined;
  #state: DevState = { ports: {}, gatewayMade: false };
  #database: DatabaseKeeper | undefined;
  #children: Child[] = [];
  #envoy: ProcessIdentity | undefined;
  #ready = false;
  #stopped: Promise<void> | undefined;

  constructor(options: DevOptions, config: DevConfig, reporter: Reporter) {
    this.#options = options;
    this.#config = config;
    this.#reporter = reporter;
  }

  get stopping(): boolean {
    return this.#stopped !== undefined;
  }

  /**
   * Resolves when everything is truly ready and has been announced, or when stop() was called meanwhile.
   * @throws DevError; the caller then calls stop(), which ends what was started.
   */
  async start(): Promise<void> {
    const build = String(statSync(join(root, 'dist/.built')).mtimeMs);
    const given = openDataFolder(this.#options.data);
    this.#lock = await lockData(given.path);
    const inheritance = await takeOver(given, this.#options, build, this.#reporter);
    const folder = openDataFolder(this.#options.data); // again: --fresh has emptied it
    this.#folder = folder;
    this.#state = readState(folder);
    const ports = await choosePorts(this.#options.ports, this.#state.ports, inheritance.pids);
    this.#remember({ ports: { ...this.#state.ports, ...ports } });
    if (this.stopping) return;
    const keeper = new DatabaseKeeper({ folder, reporter: this.#reporter, onChange: () => this.#record() });
    this.#database = keeper;
    const [database, envoyPath] = await Promise.all([keeper.open(this.#config, this.#state.ports.postgres), this.#findEnvoy()]);
    if (this.stopping) return;
    const { token, usersvc } = await this.#prepare(folder, ports, database);
    if (this.stopping) return;
    this.#startChildren({ config: this.#config, folder, ports, database, envoyPath, build, usersvcDatabaseUrl: usersvc }, inheritance);
    await this.#untilReady(folder, ports, token);
    if (!this.stopping) this.#announce(folder, ports, token, database);
  }

  /** Ends everything that was started, in order: what changes things first, what carries traffic last, Postgres last of all. Never throws. */
  stop(): Promise<void> {
    this.#stopped ??= this.#endAll();
    return this.#stopped;
  }

  /** A second Ctrl-C: what is still running is killed, Postgres excepted (its data must be flushed, which takes a moment). */
  hurry(): void {
    for (const child of this.#children) child.kill();
  }

  async #endAll(): Promise<void> {
    for (const child of this.#children) {
      await this.#end(child.spec.name, async () => {
        const byItself = await child.stop(STOP_DEADLINE_MS);
        if (!byItself) this.#reporter.note(`${child.spec.name} did not end within ${STOP_DEADLINE_MS / 1000} s and was killed`);
      });
      if (child.spec.name === 'agent') await this.#end('envoy', () => this.#endEnvoy());
    }
    if (this.#database !== undefined) await this.#end('postgres', async () => this.#database?.stop());
    this.#lock?.release();
  }

  /** The agent leaves Envoy running, as it should; here it was started for this run and ends with it. Newest epoch first. */
  async #endEnvoy(): Promise<void> {
    if (this.#folder !== undefined) await endProcesses(findEnvoys(this.#folder.node).toReversed(), STOP_DEADLINE_MS);
  }

  async #findEnvoy(): Promise<string> {
    const began = performance.now();
    try {
      const envoy = await installEnvoy({
        cacheDir: join(root, '.cache/envoy'),
        envoyPath: this.#config.envoyPath,
        searchPath: this.#config.searchPath,
        onProgress: (message) => this.#reporter.progress('envoy', message),
      });
      this.#reporter.progress('envoy', `${envoy.version} · ${envoy.path}`, performance.now() - began);
      return envoy.path;
    } catch (error) {
      const nextStep = 'Run the same command again once the cause is gone, or name an Envoy of your own in ENVOY_PATH.';
      throw new DevError('envoy_missing', (error as Error).message, nextStep, { cause: error });
    }
  }

  /** What the processes find when they start: the services file, the tokens, and the demo's own database. */
  async #prepare(folder: DataFolder, ports: Ports, database: DevDatabase): Promise<{ token: string; usersvc: string | undefined }> {
    ensureKeyFile(folder.keys);
    writeServices(folder, ports, this.#options.demo, (file) => readFileSync(file, 'utf8'));
    const token = await ensureTokens(database.url, folder, TARGET);
    if (!this.#state.gatewayMade) await ensureDevGateway(database.url);
    this.#remember({ gatewayMade: true });
    if (!this.#options.demo) return { token, usersvc: undefined };
    const { url, password } = await openUsersvcDatabase(database, this.#state.usersvcPassword);
    const { postgres } = database;
    this.#remember({
      usersvcPassword: password,
      ports: { ...this.#state.ports, ...(postgres === undefined ? {} : { postgres: postgres.port }) },
    });
    return { token, usersvc: url };
  }

  #startChildren(facts: HouseFacts, inheritance: Inheritance): void {
    const observer: ChildObserver = {
      onReady: (child, first) => {
        this.#record();
        if (!first && child.pid !== undefined) this.#reporter.restarted(child.spec.name, child.pid);
      },
      onDeath: (child, death) => {
        if (!this.stopping) this.#reporter.died(child.spec.name, { ...death, log: child.logPath });
      },
      onLine: (_child, line) => {
        if (line.event === 'envoy') this.#envoyIs(Number(line.pid), Number(line.epoch));
      },
    };
    for (const spec of describeChildren(facts)) {
      const child = new Child(spec, { logPath: join(facts.folder.logs, `${spec.name}.log`), observer, preload });
      this.#children.push(child);
      const running = inheritance.demos.get(spec.name);
      if (running === undefined) child.start();
      else child.adopt(running);
    }
    this.#record();
  }

  async #untilReady(folder: DataFolder, ports: Ports, token: string): Promise<void> {
    const began = performance.now();
    const checks = houseChecks({
      children: this.#children,
      ports,
      token,
      demo: this.#options.demo,
      envoyIsKnown: () => this.#envoy !== undefined,
    });
    await untilReady(checks, {
      deadlineMs: READY_DEADLINE_MS,
      aborted: () => this.stopping,
      onDone: (name) => this.#reporter.progress(name, 'ready', performance.now() - began),
      logs: folder.logs,
    });
  }

  #announce(folder: DataFolder, ports: Ports, token: string, database: DevDatabase): void {
    this.#ready = true;
    this.#record();
    const facts = { api: `http://127.0.0.1:${ports.api}`, gateway: `http://127.0.0.1:${ports.http}`, data: folder.path };
    const usersvc = this.#options.demo ? `http://127.0.0.1:${ports.usersvc}` : undefined;
    const tookMs = performance.now() - this.#began;
    const withoutPassword = database.url.replace(/:[^:@/]+@/, ':***@');
    this.#reporter.ready(
      {
        ...facts,
        token,
        database: database.url,
        processes: this.#processes(),
        ...(usersvc === undefined ? {} : { usersvc, walkthrough: walkthrough({ ...facts, usersvc }) }),
        ms: Math.round(tookMs),
      },
      readyText({ ...facts, usersvc, tookMs, logs: folder.logs, database: withoutPassword }),
    );
  }

  #processes(): Record<string, number> {
    const named: readonly (readonly [string, number | undefined])[] = [
      ...this.#children.map((child) => [child.spec.name, child.pid] as const),
      ['postgres', this.#database?.pid],
      ['envoy', this.#envoy?.pid],
    ];
    return Object.fromEntries(named.filter(([, pid]) => pid !== undefined)) as Record<string, number>;
  }

  /** For people and for tests: what runs now. Nothing rests on it. */
  #record(): void {
    if (this.#folder === undefined || this.stopping) return;
    const run = { supervisor: process.pid, ready: this.#ready, processes: this.#processes() };
    writePrivately(this.#folder.run, `${JSON.stringify(run, null, 2)}\n`);
  }

  #remember(changes: Partial<DevState>): void {
    this.#state = { ...this.#state, ...changes };
    if (this.#folder !== undefined) writeState(this.#folder, this.#state);
  }

  #envoyIs(pid: number, epoch: number): void {
    const process_ = identifyProcess(pid);
    if (process_ === null) return; // it has died since; the agent starts another and says so
    const died = this.#envoy !== undefined && this.#envoy.pid !== pid && !isRunning(this.#envoy);
    this.#envoy = process_;
    this.#record();
    if (!this.#ready || this.stopping) return;
    if (died) this.#reporter.restarted('envoy', pid);
    else this.#reporter.envoy(pid, epoch);
  }

  async #end(process_: string, end: () => Promise<unknown>): Promise<void> {
    const began = performance.now();
    try {
      await end();
      this.#reporter.ended(process_, performance.now() - began);
    } catch (error) {
      this.#reporter.note(`${process_} could not be ended: ${(error as Error).message}`);
    }
  }
}

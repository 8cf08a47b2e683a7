import { EnvoyAdmin } from './admin.js';
import { EpochStarter, keyOfConfigFile, type LiveEpoch } from './epoch-start.js';
import { type FoundEpoch, findEpochs } from './launcher.js';
import { type EpochPlace, forgetLineage, placesWithoutParent, readLineage } from './lineage.js';
import type { NodeFolder } from './node-folder.js';
import { isRunning, type ProcessIdentity, ProcessWatch, signalProcess } from './process-identity.js';
import type { EpochConfig } from './recovery-plan.js';
import { removeSharedMemory } from './shared-memory.js';
import { waitUntil } from './wait-until.js';

/*
 * One Envoy and its hot restarts, as a state machine over processes that outlive this one.
 *
 *   none ──start──► live(n) ──restart──► live(n) + child(n+1) ──child LIVE──► live(n+1) + parent(n) ──parent gone──► live(n+1)
 *
 *   none                 No process. `start` begins a lineage (a base id of its own, epoch 0), or continues the one that died with the
 *                        next epoch and --skip-hot-restart-on-no-parent when its shared memory is still there.
 *   live(n)              One process serves and owns the admin socket.
 *   live(n) + child(n+1) The child initializes. If it dies, or is not live in time, what is left of it is killed with SIGKILL (SIGTERM
 *                        to a child that is not live ends the parent too), the initializing flag is cleared, and:
 *                          - the parent's admin still answers: back to live(n), the restart was refused;
 *                          - it does not (the child had passed parsing; a parent gives its admin up for good): the same number n+1 is
 *                            started again with a configuration that is known to be good, and the outcome says so. The number must be
 *                            the same: n+2 beside n aborts.
 *   live(n+1) + parent(n) The parent drains and ends itself after parent-shutdown. No further restart is begun meanwhile, since n+2
 *                        would end n at once and cut its requests; `force` does it all the same and reports a cut.
 *                        If the live epoch dies here, its number is started again: the parent has closed its listeners already.
 *                        If the parent is killed here, the live epoch serves on, but its main thread blocks at the next message to the
 *                        parent, and 10 s later Envoy 1.40 aborts. A child started beside it meanwhile would wait for ever, so an attempt
 *                        ends with its parent, and `start` follows.
 *
 * Every move is decided by asking the processes (start time, /server_info LIVE with the right epoch), never from memory alone, so that
 * `adopt` can find its place again after the supervisor itself was killed anywhere.
 */

export interface DrainingParent {
  readonly epoch: number;
  readonly process: ProcessIdentity;
  /** Unix milliseconds at which it should have ended itself. */
  readonly endsAtMs: number;
}

export type RestartOutcome =
  | { readonly kind: 'live'; readonly live: LiveEpoch; readonly cut: boolean; readonly durationMs: number }
  | {
      readonly kind: 'refused';
      readonly code: 'child_died' | 'child_timeout' | 'parent_died';
      /** Envoy's own words. */
      readonly message: string;
      /** The parent had lost its admin, so the same epoch number was started with this older configuration. */
      readonly healed: LiveEpoch | null;
      /** The parent serves on without an admin because nothing could be started beside it. */
      readonly adminLost: boolean;
    };

export type Adoption =
  | { readonly kind: 'none' }
  | { readonly kind: 'adopted'; readonly live: LiveEpoch }
  | { readonly kind: 'healed'; readonly live: LiveEpoch; readonly message: string }
  | { readonly kind: 'adopted without admin'; readonly live: LiveEpoch; readonly message: string };

export interface SupervisorOptions {
  readonly folder: NodeFolder;
  readonly binary: string;
  /** What forks it, where there is no shell. */
  readonly launcher?: string | undefined;
  /** Worker threads; a running lineage keeps its own number. */
  readonly concurrency: number;
  /** How long a child may take from fork to LIVE. 100,000 routes took 5 s on a busy machine of two cores. */
  readonly liveTimeoutMs?: number;
  /** Named places where a test may stop the process. */
  readonly failpoint?: (name: string) => void;
  readonly onNote?: (message: string, facts: Record<string, unknown>) => void;
}

/** How long an adopted Envoy may take to answer its admin before it counts as lost. */
const ADOPT_PATIENCE_MS = 5000;

export class EnvoySupervisor {
  readonly admin: EnvoyAdmin;
  readonly #folder: string;
  readonly #starter: EpochStarter;
  readonly #note: (message: string, facts: Record<string, unknown>) => void;
  readonly #watch = new ProcessWatch();
  #concurrency: number;
  #live: LiveEpoch | null = null;
  #parent: DrainingParent | null = null;
  #busy = false;

  constructor(options: SupervisorOptions) {
    const { folder, binary, launcher, concurrency, liveTimeoutMs = 60_000, failpoint = () => {}, onNote = () => {} } = options;
    this.admin = new EnvoyAdmin(folder.adminSocket);
    this.#starter = new EpochStarter({ folder, binary, launcher, admin: this.admin, liveTimeoutMs, failpoint, onNote });
    this.#folder = folder.path;
    this.#concurrency = concurrency;
    this.#note = onNote;
  }

  /** The epoch that serves, or null when it has died or none was started. */
  get live(): LiveEpoch | null {
    return this.#live !== null && this.#watch.isRunning(this.#live.process) ? this.#live : null;
  }

  /** The epoch that was live last, dead or not. */
  get last(): LiveEpoch | null {
    return this.#live;
  }

  /** The parent that still drains, or null. */
  get parent(): DrainingParent | null {
    if (this.#parent !== null && !isRunning(this.#parent.process)) this.#parent = null;
    return this.#parent;
  }

  /**
   * Finds the Envoy of an earlier supervisor and goes on with it, whatever that one was doing when it died. Call it first, once.
   * `fallbacks` are started (best first) when a parent is found that has lost its admin.
   */
  async adopt(fallbacks: readonly EpochConfig[]): Promise<Adoption> {
    return this.#alone(async () => {
      const found = await this.#ofOneLineage(await findEpochs(this.#folder));
      const [newest, older] = found.toReversed();
      if (newest === undefined) return { kind: 'none' };
      this.#concurrency = newest.concurrency;
      const patienceMs = older === undefined ? ADOPT_PATIENCE_MS : undefined;
      if ((await this.#starter.waitLive(newest.process, newest.epoch, { timeoutMs: patienceMs, parent: older?.process })) === 'live') {
        return { kind: 'adopted', live: this.#enter(toLive(newest), older) };
      }
      // Either the newest is a child that never came up, or the only one has lost its admin to a child that died after taking it over.
      const message = older === undefined ? 'the running Envoy has lost its admin' : await this.#starter.bury(newest.process, newest);
      const parent = older ?? newest;
      if (!isRunning(parent.process)) return { kind: 'none' };
      const live = this.#enter(toLive(parent), undefined);
      if (older !== undefined && (await this.#starter.adminAnswers(parent.epoch))) return { kind: 'adopted', live };
      const healed = await this.#heal(live, fallbacks);
      return healed === null ? { kind: 'adopted without admin', live, message } : { kind: 'healed', live: healed, message };
    });
  }

  /**
   * Starts Envoy where none is live (cold start, or after a death), trying the configurations in order. When the live epoch died while
   * its parent still drained, the same number is started again beside that parent.
   * @throws when none comes up, with Envoy's words for each.
   */
  async start(candidates: readonly EpochConfig[]): Promise<LiveEpoch> {
    return this.#alone(async () => {
      const live = this.live;
      if (live !== null) throw new Error(`Envoy is live already (epoch ${live.epoch})`);
      const refusals: string[] = [];
      const dead = readLineage(this.#folder);
      for (const config of candidates) {
        for (const place of this.#placesToStart()) {
          const parent = this.#parent;
          const attempt = await this.#starter.attempt(place, config, this.#concurrency);
          if (attempt.live !== null) {
            this.#live = attempt.live;
            if (parent !== null) this.#parent = { ...parent, endsAtMs: Date.now() + config.parentShutdownTimeS * 1000 };
            if (dead !== null && dead.baseId !== place.baseId) removeSharedMemory(dead.baseId);
            return attempt.live;
          }
          if (place.epoch === 0) removeSharedMemory(place.baseId);
          refusals.push(`${config.key} as epoch ${place.epoch}: ${attempt.message}`);
          this.#note('an epoch did not start', { epoch: place.epoch, config: config.key, reason: attempt.message });
        }
      }
      throw new Error(`Envoy could not be started: ${refusals.join('; ') || 'there is no configuration to start it with'}`);
    });
  }

  /**
   * Hot restart to a configuration that has passed the gate. `fallbacks` are configurations known to be good (best first), asked for only when the
   * restart fails in a way that costs the parent its admin.
   * @throws when no Envoy is live, or when the parent still drains and `force` is not set: wait for `parent` to be null first.
   */
  async restart(
    config: EpochConfig,
    { fallbacks, force = false }: { fallbacks: Iterable<EpochConfig>; force?: boolean },
  ): Promise<RestartOutcome> {
    return this.#alone(async () => {
      const parent = this.live;
      if (parent === null) throw new Error('hot restart: no Envoy is live');
      const cut = this.parent !== null;
      if (cut && !force) throw new Error(`hot restart: epoch ${this.#parent?.epoch} still drains`);
      const startedAt = performance.now();
      const attempt = await this.#starter.attempt(childOf(parent), config, this.#concurrency, parent.process);
      if (attempt.live !== null) {
        this.#enter(attempt.live, parent);
        return { kind: 'live', live: attempt.live, cut, durationMs: performance.now() - startedAt };
      }
      const refused = { kind: 'refused', code: attempt.code, message: attempt.message } as const;
      if (!isRunning(parent.process)) return { ...refused, code: 'parent_died', healed: null, adminLost: true };
      if (await this.#starter.adminAnswers(parent.epoch)) return { ...refused, healed: null, adminLost: false };
      const healed = await this.#heal(parent, fallbacks);
      return { ...refused, healed, adminLost: healed === null };
    });
  }

  /** Ends Envoy: asks clients to go, waits for them at most `graceMs`, then SIGTERM, then SIGKILL. Nothing is left of the lineage. */
  async stop({ graceMs }: { graceMs: number }): Promise<void> {
    await this.#alone(async () => {
      const live = this.live;
      if (live !== null && graceMs > 0) {
        await this.admin
          .drainListeners({ timeoutMs: 1000 })
          .catch((error: Error) => this.#note('Envoy could not be drained', { error: error.message }));
        await waitUntil(() => this.#hasNoConnections(), { timeoutMs: graceMs, everyMs: 50 });
      }
      if (live !== null) signalProcess(live.process, 'SIGTERM');
      const left = await findEpochs(this.#folder);
      const processes = [live, this.#parent, ...left].flatMap((epoch) => epoch?.process ?? []); // a dying one is not found any more
      const allGone = () => processes.every((each) => !isRunning(each)) || null;
      if (live === null || (await waitUntil(allGone, { timeoutMs: 3000, everyMs: 20 })) === null) {
        for (const each of processes) signalProcess(each, 'SIGKILL');
        await waitUntil(allGone, { timeoutMs: 3000, everyMs: 20 });
      }
      for (const epoch of [this.#live, ...left]) if (epoch !== null) removeSharedMemory(epoch.baseId);
      forgetLineage(this.#folder);
      [this.#live, this.#parent] = [null, null];
    });
  }

  /** Keeps the running epochs' logs from filling the disk. To be called now and then. */
  boundLogs(): void {
    if (this.#live === null) return;
    this.#starter.boundLog(this.#live);
    if (this.#parent !== null) this.#starter.boundLog({ baseId: this.#live.baseId, epoch: this.#parent.epoch });
  }

  /** Ends a parent that outstayed its window: Envoy's own timer failed, or it was stopped by someone. */
  killParent(): void {
    if (this.parent !== null) signalProcess(this.parent.process, 'SIGKILL');
  }

  #placesToStart(): readonly EpochPlace[] {
    const recorded = readLineage(this.#folder);
    const dead = this.#live;
    if (dead !== null && this.parent !== null)
      return [{ baseId: dead.baseId, epoch: dead.epoch, skipOnNoParent: true }, ...placesWithoutParent(null)];
    return placesWithoutParent(recorded);
  }

  /** Starts the number of a failed child again with something that is known to work, so that an admin exists again. */
  async #heal(parent: LiveEpoch, fallbacks: Iterable<EpochConfig>): Promise<LiveEpoch | null> {
    for (const config of fallbacks) {
      const attempt = await this.#starter.attempt(childOf(parent), config, this.#concurrency, parent.process);
      if (attempt.live !== null) return this.#enter(attempt.live, parent);
      this.#note('the epoch could not be healed', { epoch: parent.epoch + 1, config: config.key, reason: attempt.message });
    }
    return null;
  }

  #enter(live: LiveEpoch, parent: { readonly epoch: number; readonly process: ProcessIdentity } | undefined): LiveEpoch {
    this.#live = live;
    const endsAtMs = Date.now() + live.config.parentShutdownTimeS * 1000;
    this.#parent = parent === undefined ? null : { epoch: parent.epoch, process: parent.process, endsAtMs };
    return live;
  }

  /**
   * Of what was found, the lineage that answers its admin, else the one with the newest process; every other is ended, as is a
   * grandparent. Two lineages exist when a supervisor was killed while it gave a hopeless one up.
   */
  async #ofOneLineage(found: readonly FoundEpoch[]): Promise<readonly FoundEpoch[]> {
    const newest = [...found].sort((a, b) => Number(a.process.startTicks) - Number(b.process.startTicks)).at(-1);
    if (newest === undefined) return [];
    const answering = await this.admin.serverInfo({ timeoutMs: 1000 }).catch(() => null); // no answer: the newest is taken
    const baseId = found.find((epoch) => epoch.baseId === answering?.baseId)?.baseId ?? newest.baseId;
    const kept = found.filter((epoch) => epoch.baseId === baseId).slice(-2);
    for (const epoch of found) {
      if (kept.includes(epoch)) continue;
      this.#note('an orphaned Envoy was ended', { pid: epoch.process.pid, baseId: epoch.baseId, epoch: epoch.epoch });
      signalProcess(epoch.process, 'SIGKILL');
    }
    return kept;
  }

  async #hasNoConnections(): Promise<true | null> {
    const gauges = await this.admin.stats('^http\\..*\\.downstream_cx_active$', { timeoutMs: 500 }).catch(() => null); // asked again
    if (gauges === null) return null;
    return [...gauges].every(([name, value]) => name.startsWith('http.admin.') || value === 0) || null;
  }

  async #alone<T>(work: () => Promise<T>): Promise<T> {
    if (this.#busy) throw new Error('the supervisor does one thing at a time');
    this.#busy = true;
    try {
      return await work();
    } finally {
      this.#busy = false;
    }
  }
}

function childOf(parent: LiveEpoch): EpochPlace {
  return { baseId: parent.baseId, epoch: parent.epoch + 1, skipOnNoParent: false };
}

function toLive({ baseId, epoch, process, configPath, drainTimeS, parentShutdownTimeS }: FoundEpoch): LiveEpoch {
  return { baseId, epoch, process, config: { key: keyOfConfigFile(configPath), drainTimeS, parentShutdownTimeS } };
}

import { existsSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type EnvoyAdmin, EnvoyAdminError } from './admin.js';
import { launchEpoch, tailOfLog } from './launcher.js';
import { type EpochPlace, writeLineage } from './lineage.js';
import type { NodeFolder } from './node-folder.js';
import { isRunning, type ProcessIdentity, signalProcess } from './process-identity.js';
import type { EpochConfig } from './recovery-plan.js';
import { refusalReason } from './refusal-reason.js';
import { clearInitializingFlag } from './shared-memory.js';
import { waitUntil } from './wait-until.js';

/** An epoch that serves. */
export interface LiveEpoch {
  readonly baseId: number;
  readonly epoch: number;
  readonly process: ProcessIdentity;
  readonly config: EpochConfig;
}

export type EpochAttempt =
  | { readonly live: LiveEpoch }
  | { readonly live: null; readonly code: 'child_died' | 'child_timeout'; readonly message: string };

export interface EpochStarterOptions {
  readonly folder: NodeFolder;
  readonly binary: string;
  readonly launcher?: string | undefined;
  readonly admin: EnvoyAdmin;
  readonly liveTimeoutMs: number;
  readonly failpoint: (name: string) => void;
  readonly onNote: (message: string, facts: Record<string, unknown>) => void;
}

/** Epoch logs that are kept; the names carry base id and epoch. */
const LOGS_KEPT = 6;
/** Envoy logs warnings and worse, so this is much; the last lines before a death are what is wanted of it. */
const MAX_LOG_BYTES = 16 * 1024 * 1024;
/** Each question costs the child's main thread a connection while it has better things to do. */
const POLL_MS = 10;
/** How soon a death is seen while an answer is awaited. */
const WATCH_MS = 15;
/**
 * How long one answer of the admin is awaited: short at first, because in a hot restart a question may reach a parent that is giving its
 * admin up and never answers; longer each time, because on a busy machine nothing answers within the short time.
 */
const SHORT_PATIENCE_MS = 300;
const LONG_PATIENCE_MS = 4800;

/** Starts one epoch and says what became of it. After a failure nothing of the child is left and its lineage can be used again. */
export class EpochStarter {
  readonly #options: EpochStarterOptions;

  constructor(options: EpochStarterOptions) {
    this.#options = options;
  }

  /** `parent` is whom the child takes over from: when that one dies first, the child would wait for its answers for ever. */
  async attempt(place: EpochPlace, config: EpochConfig, concurrency: number, parent?: ProcessIdentity): Promise<EpochAttempt> {
    const { folder, binary, launcher, failpoint } = this.#options;
    // No child runs when an attempt begins, so a flag that is set was left by one that died unseen.
    clearInitializingFlag(place.baseId);
    const logPath = this.logPath(place);
    rmSync(logPath, { force: true });
    this.#dropOldLogs();
    this.#recordLineage(place);
    failpoint('agent.beforeFork');
    const { drainTimeS, parentShutdownTimeS, serviceNode } = config;
    const configPath = configFile(config.key);
    const child = await launchEpoch({
      binary,
      launcher,
      cwd: folder.path,
      ...place,
      configPath,
      drainTimeS,
      parentShutdownTimeS,
      concurrency,
      logPath,
      serviceNode: serviceNode === undefined ? undefined : epochNode(serviceNode, place),
    });
    failpoint('agent.afterFork');
    const became = await this.waitLive(child, place.epoch, { parent });
    if (became === 'live') {
      failpoint('agent.afterChildLive');
      return { live: { baseId: place.baseId, epoch: place.epoch, process: child, config } };
    }
    const message = await this.bury(child, place);
    if (became === 'orphaned') return { live: null, code: 'child_died', message: `its parent died before it was live. ${message}`.trim() };
    if (became === 'died') return { live: null, code: 'child_died', message };
    return { live: null, code: 'child_timeout', message: `not live within ${this.#options.liveTimeoutMs} ms. ${message}`.trim() };
  }

  /** Waits until the process answers LIVE with its own epoch number on the admin socket (its parent's answer does not count). */
  async waitLive(
    child: ProcessIdentity,
    epoch: number,
    {
      timeoutMs = this.#options.liveTimeoutMs,
      parent,
    }: { readonly timeoutMs?: number | undefined; readonly parent?: ProcessIdentity | undefined } = {},
  ): Promise<'live' | 'died' | 'orphaned' | 'timeout'> {
    let patienceMs = SHORT_PATIENCE_MS;
    const isOrphan = () => parent !== undefined && !isRunning(parent);
    const became = await waitUntil(
      async () => {
        if (!isRunning(child)) return 'died' as const;
        const orphaned = isOrphan(); // asked before the admin: a child that was live by then is live
        const says = await this.#adminSays(
          epoch,
          orphaned ? SHORT_PATIENCE_MS : patienceMs,
          () => !isRunning(child) || (!orphaned && isOrphan()),
        );
        if (says === 'live') return 'live' as const;
        if (says === 'silent') patienceMs = Math.min(LONG_PATIENCE_MS, patienceMs * 2);
        return orphaned ? ('orphaned' as const) : null;
      },
      { timeoutMs, everyMs: POLL_MS },
    );
    return became ?? 'timeout';
  }

  /** Whether this epoch has the admin. One that is merely slow to answer has it. */
  async adminAnswers(epoch: number): Promise<boolean> {
    for (let patienceMs = SHORT_PATIENCE_MS; patienceMs <= LONG_PATIENCE_MS; patienceMs *= 2) {
      const says = await this.#adminSays(epoch, patienceMs);
      if (says !== 'silent') return says === 'live';
    }
    return false;
  }

  /** One question; given up when `inVain` says that there is nobody to answer it any more. */
  async #adminSays(epoch: number, timeoutMs: number, inVain = () => false): Promise<'live' | 'another' | 'nobody' | 'silent'> {
    const answered = { now: false };
    const answer = this.#ask(epoch, timeoutMs).finally(() => {
      answered.now = true;
    });
    const nobody = waitUntil(() => (answered.now || inVain() ? ('nobody' as const) : null), {
      timeoutMs: timeoutMs + 1000,
      everyMs: WATCH_MS,
    });
    return (await Promise.race([answer, nobody])) ?? answer;
  }

  async #ask(epoch: number, timeoutMs: number): Promise<'live' | 'another' | 'nobody' | 'silent'> {
    try {
      const info = await this.#options.admin.serverInfo({ timeoutMs });
      return info.state === 'LIVE' && info.restartEpoch === epoch ? 'live' : 'another';
    } catch (error) {
      if (!(error instanceof EnvoyAdminError)) throw error;
      // A refused or broken connection has a system's code; our own deadline has none.
      return (error.cause as NodeJS.ErrnoException | undefined)?.code === undefined ? 'silent' : 'nobody';
    }
  }

  /** Ends what is left of a child that is not live, clears the flag it set, and answers with its last words. */
  async bury(child: ProcessIdentity, place: { readonly baseId: number; readonly epoch: number }): Promise<string> {
    signalProcess(child, 'SIGKILL');
    const gone = await waitUntil(() => (isRunning(child) ? null : true), { timeoutMs: 5000, everyMs: 2 });
    if (gone === null) throw new Error(`Envoy ${child.pid} survived SIGKILL for 5 s: its memory is left alone`);
    clearInitializingFlag(place.baseId);
    return refusalReason(tailOfLog(this.logPath(place)));
  }

  logPath({ baseId, epoch }: { readonly baseId: number; readonly epoch: number }): string {
    return join(this.#options.folder.logs, `envoy-${baseId}-${epoch}.log`);
  }

  /** Empties the log of an epoch that has written too much; it is opened for appending, so Envoy goes on at its beginning. */
  boundLog(place: { readonly baseId: number; readonly epoch: number }): void {
    const path = this.logPath(place);
    if (existsSync(path) && statSync(path).size > MAX_LOG_BYTES) truncateSync(path, 0);
  }

  #recordLineage(place: EpochPlace): void {
    try {
      writeLineage(this.#options.folder.path, place);
    } catch (error) {
      // A full disk must not keep Envoy from starting: without the record the next cold start begins a new lineage.
      this.#options.onNote('the lineage could not be recorded', { error: (error as Error).message });
    }
  }

  #dropOldLogs(): void {
    const { logs } = this.#options.folder;
    const byAge = readdirSync(logs)
      .filter((name) => name.startsWith('envoy-'))
      .map((name) => ({ name, changed: statSync(join(logs, name)).mtimeMs }))
      .sort((a, b) => b.changed - a.changed);
    for (const { name } of byAge.slice(LOGS_KEPT - 1)) rmSync(join(logs, name), { force: true });
  }
}

/** The node id with which an epoch opens its ADS stream. */
export function epochNode(serviceNode: string, { baseId, epoch }: { readonly baseId: number; readonly epoch: number }): string {
  return `${serviceNode}/${baseId}.${epoch}`;
}

/** The reverse of epochNode; null for one that no epoch of ours has. */
export function placeOfNode(id: string): { readonly baseId: number; readonly epoch: number } | null {
  const [, baseId, epoch] = /\/(\d{1,9})\.(\d{1,9})$/.exec(id) ?? [];
  return baseId === undefined || epoch === undefined ? null : { baseId: Number(baseId), epoch: Number(epoch) };
}

/** The configuration's file relative to the node's folder: its name carries the release, so the process table says who runs what. */
export function configFile(key: string): string {
  return `configs/${key}.json`;
}

/** The reverse of configFile: what a found process runs. */
export function keyOfConfigFile(path: string): string {
  return basename(path, '.json');
}

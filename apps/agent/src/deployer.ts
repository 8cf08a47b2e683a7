import { passGate } from '#platform/envoy/gate.js';
import type { Release } from '#platform/envoy/release-store.js';
import { type LiveRelease, Status } from '#platform/xds/generated/delivery.js';
import { serveNothing } from '#platform/xds/socket-server.js';
import { mayApply, mayGate, type Situation } from './coalescing.js';
import { EnvoyLane } from './envoy-lane.js';
import type { Applied, EnvoyLaneOptions } from './envoy-lane-options.js';
import { decideFence, type FenceDecision } from './fence.js';
import { isLive, type KeyedRelease, namedFiles } from './release-files.js';
import { Wake } from './wake.js';

/*
 * From an accepted release to a proven one, on two lanes that never wait for each other:
 *
 *   accept ──► gate lane: own checks, validation, shadow boot ──► Envoy lane: hot restart, proof
 *
 *   The gate lane takes the newest accepted release; what it passes over is superseded. It also runs while the parent of the last
 *   restart drains, so that a refusal is told early and the release is ready when the window ends.
 *   The Envoy lane owns Envoy. In this order: Envoy is dead -> start it from disk; a release has passed the gate and no parent drains
 *   -> restart, prove; else sleep. While a parent drains only the newest gated release is kept.
 *   coalescing.ts says when each of them may go on.
 *
 * A release whose render equals the running one needs no gate and no restart: its endpoint files are written and the running marker
 * proves it.
 */

export interface DeployerOptions extends EnvoyLaneOptions {
  readonly binary: string;
  /** What of the status only live delivery knows. */
  readonly liveStatus: () => { readonly busy: boolean; readonly error: string; readonly applied: LiveRelease | null };
  /** Something of the status has changed. */
  readonly onChange: () => void;
}

/** How often the Envoy lane looks at the processes when nothing calls it: a death is seen within this time. */
const LOOK_MS = 15;
const LOGS_MS = 10_000;
/** How long after a step that failed for reasons of the machine it is tried again. */
const RETRY_MS = 1000;
/** A parent that has not gone this long after its window is ended. */
const PARENT_GRACE_MS = 5000;

export class Deployer {
  readonly #options: DeployerOptions;
  readonly #envoy: EnvoyLane;
  readonly #gateWake = new Wake();
  readonly #envoyWake = new Wake();
  #toGate: KeyedRelease | null = null;
  #arrivedAt = 0;
  #logsBoundAt = 0;
  #gating: { readonly release: KeyedRelease; readonly since: number } | null = null;
  #ready: KeyedRelease | null = null;
  #applying: KeyedRelease | null = null;
  #busy = false;
  #stopping = false;
  #lanes: Promise<unknown> = Promise.resolve();

  constructor(options: DeployerOptions) {
    this.#options = options;
    this.#envoy = new EnvoyLane(options);
  }

  /** Adopts or starts Envoy, then works until `stop`. Resolves when Envoy is settled, as far as the disk allows. */
  async start(): Promise<void> {
    const { store, log } = this.#options;
    await this.#envoy.begin();
    const newest = store.newest('candidate', 'good');
    // A candidate was accepted before the agent died; whether it runs already or not, it has not been proven.
    if (newest !== null && newest.standing === 'candidate') this.#toGate = newest;
    const lane = (work: () => Promise<void>) =>
      work().catch((error: Error) => {
        log.fatal({ err: error }, 'the agent has a defect and cannot go on');
        process.exitCode = 1;
        process.kill(process.pid, 'SIGTERM');
      });
    this.#lanes = Promise.all([lane(() => this.#gateLane()), lane(() => this.#envoyLane())]);
  }

  /** Takes a release in: fence, then disk. When this returns with accept, the release survives whatever happens next. */
  accept(release: Release): FenceDecision {
    const { store, state, failpoint } = this.#options;
    const decision = decideFence(state.accepted, release.manifest);
    const { fence, version, renderSha256 } = release.manifest;
    if (!decision.accept || fence === undefined) return decision;
    const next = { key: store.save(release), release };
    failpoint('agent.afterManifestWritten');
    state.accept({ fence, version, renderSha256 });
    this.take(next);
    return decision;
  }

  /** What runs now; null when nothing does, or nobody knows. */
  get running(): KeyedRelease | null {
    return this.#envoy.running;
  }

  /** Whether an Envoy with this bootstrap of live delivery runs, or will when what is under way is done. */
  heads(bootstrapSha256: string): boolean {
    const last = this.#toGate ?? this.#gating?.release ?? this.#ready ?? this.#applying ?? this.#envoy.running;
    return last !== null && isLive(last.release) && last.release.manifest.renderSha256 === bootstrapSha256;
  }

  /** What runs is proven, also when its first proof had failed. */
  runsWell(): void {
    const { running } = this.#envoy;
    if (running !== null && this.#ready === null) this.#options.store.mark(running.key, 'good', { running: running.key });
  }

  /** Takes a release over that is on the disk and through the fence: gate, Envoy, proof. */
  take(next: KeyedRelease): void {
    const { report, supervisor } = this.#options;
    report({ name: this.#envoy.nameOf(next), step: 'accepted' });
    if (supervisor.parent !== null && !next.release.manifest.force)
      report({ name: this.#envoy.nameOf(next), step: 'waiting', detail: 'the parent of the last restart still drains' });
    this.#supersede(this.#toGate, next);
    this.#toGate = next;
    this.#arrivedAt = performance.now();
    this.#gateWake.call();
  }

  status(): Status {
    const { supervisor, state } = this.#options;
    const { parent, live: epoch } = supervisor;
    const pending = this.#toGate ?? this.#gating?.release ?? this.#ready;
    const live = this.#options.liveStatus();
    const delivery = this.#envoy.running === null ? '' : isLive(this.#envoy.running.release) ? 'live' : 'hot-restart';
    const applied = delivery === 'live' && live.applied !== null ? live.applied : state.applied;
    const working = this.#busy || this.#gating !== null || this.#toGate !== null || live.busy;
    return Status.fromPartial({
      state: epoch === null ? 'starting' : working ? 'busy' : parent !== null ? 'draining' : 'idle',
      windowEndsMs: parent?.endsAtMs ?? 0,
      epoch: epoch?.epoch ?? -1,
      appliedRelease: applied?.releaseId ?? '',
      appliedVersion: applied?.version ?? 0,
      appliedRenderSha256: applied?.renderSha256 ?? '',
      provenRelease: state.proven?.releaseId ?? '',
      provenVersion: state.proven?.version ?? 0,
      error: (this.#envoy.error || (delivery === 'live' ? live.error : '')).slice(0, 2000),
      envoyPid: epoch?.process.pid ?? 0,
      delivery,
      pendingRelease: pending?.release.manifest.releaseId ?? '',
    });
  }

  /** Ends both lanes after what they are doing. Envoy is left as it is. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#gateWake.call();
    this.#envoyWake.call();
    await this.#lanes;
  }

  async #gateLane(): Promise<void> {
    while (!this.#stopping) {
      const next = this.#toGate;
      if (next === null || !mayGate(this.#situation())) {
        await this.#gateWake.wait(next === null ? 1000 : LOOK_MS);
        continue;
      }
      this.#toGate = null;
      this.#gating = { release: next, since: performance.now() };
      this.#options.onChange();
      const passed = await this.#pass(next);
      this.#gating = null;
      if (passed) {
        this.#supersede(this.#ready, next);
        this.#ready = next;
      }
      this.#envoyWake.call();
      this.#options.onChange();
    }
  }

  async #pass(next: KeyedRelease): Promise<boolean> {
    if (this.#envoy.isRunning(next)) return true;
    try {
      return await this.#gate(next);
    } catch (error) {
      this.#envoy.error = `the gate failed: ${(error as Error).message}`;
      this.#options.log.error({ err: error }, 'the gate failed and is tried again');
      await this.#gateWake.wait(RETRY_MS);
      this.#toGate ??= next;
      return false;
    }
  }

  async #envoyLane(): Promise<void> {
    const { supervisor } = this.#options;
    let recovered = true;
    while (!this.#stopping) {
      // While nothing on the disk comes up, a release that has passed the gate is the better hope.
      if (supervisor.live === null && this.#envoy.shouldRun && (recovered || this.#ready === null)) {
        recovered = await this.#work(() => this.#envoy.recover(), false);
        continue;
      }
      recovered = true;
      const ready = this.#ready;
      if (ready !== null && (ready.release.manifest.force || this.#envoy.isRunning(ready) || mayApply(this.#situation()))) {
        this.#ready = null;
        await this.#deploy(ready);
        continue;
      }
      await this.#watch();
    }
  }

  #situation(): Situation {
    const { parent } = this.#options.supervisor;
    return {
      now: performance.now(),
      arrivedAt: this.#toGate === null ? null : this.#arrivedAt,
      gatingSince: this.#gating?.since ?? null,
      ready: this.#ready !== null,
      busy: this.#busy,
      windowEndsAt: parent === null ? null : performance.now() + parent.endsAtMs - Date.now(),
    };
  }

  async #deploy(next: KeyedRelease): Promise<void> {
    this.#applying = next;
    const applied = await this.#work<Applied>(
      () => (this.#envoy.isRunning(next) ? this.#envoy.refresh(next) : this.#envoy.apply(next)),
      'again',
    );
    this.#applying = null;
    if (applied === 'again') {
      // A newer one that waits goes first: it would wait for this one otherwise, and this one may never come up.
      if (this.#toGate === null) this.#ready ??= next;
      else this.#supersede(next, this.#toGate);
    }
    // What runs now has failed: back to what was proven, unless something newer is ready.
    else if (applied === 'failed' && this.#envoy.running?.key === next.key) this.#ready ??= this.#envoy.bestOther();
  }

  /** Sleeps a moment; ends a parent that does not go; tidies up when it has gone. */
  async #watch(): Promise<void> {
    const { supervisor, log } = this.#options;
    const parent = supervisor.parent;
    if (parent !== null && Date.now() > parent.endsAtMs + PARENT_GRACE_MS) {
      log.error({ epoch: parent.epoch, pid: parent.process.pid }, 'the parent outstayed its window and is ended');
      supervisor.killParent();
    }
    if (performance.now() - this.#logsBoundAt > LOGS_MS) {
      this.#logsBoundAt = performance.now();
      supervisor.boundLogs();
    }
    await this.#envoyWake.wait(LOOK_MS);
    if (parent === null || supervisor.parent !== null) return;
    this.#envoy.dropOldFiles([this.#toGate, this.#gating?.release ?? null, this.#ready].filter((release) => release !== null));
    this.#options.onChange();
  }

  async #gate(next: KeyedRelease): Promise<boolean> {
    const { folder, binary, probe, store, report, log } = this.#options;
    const { manifest, bootstrap } = next.release;
    const result = await passGate({
      binary,
      folder: folder.shadow,
      bootstrap,
      files: namedFiles(next.release),
      probe: { path: probe.path, headers: probe.headers, marker: manifest.marker },
      serveNothing: isLive(next.release) ? serveNothing : undefined,
      onStep: (step, durationMs) => report({ name: this.#envoy.nameOf(next), step, durationMs }),
    });
    if (result.ok) return true;
    store.mark(next.key, 'refused', { running: this.#envoy.running?.key });
    this.#envoy.error = `release ${manifest.releaseId}: ${result.code}: ${result.message}`;
    log.warn(
      { release: manifest.releaseId, step: result.step, code: result.code, detail: result.message },
      'a release was refused by the gate',
    );
    report({ name: this.#envoy.nameOf(next), step: 'refused', code: result.code, detail: result.message, durationMs: result.durationMs });
    return false;
  }

  #supersede(old: KeyedRelease | null, next: KeyedRelease): void {
    // A live release that is passed over is covered by the proof of the next.
    if (old === null || (isLive(old.release) && isLive(next.release))) return;
    this.#options.report({ name: this.#envoy.nameOf(old), step: 'superseded', detail: `by ${next.release.manifest.releaseId}` });
  }

  /** Runs a step of the Envoy lane. One that throws (a full disk, say) is logged and tried again, since nobody else would. */
  async #work<T>(work: () => Promise<T>, otherwise: T): Promise<T> {
    this.#busy = true;
    this.#options.onChange();
    try {
      return await work();
    } catch (error) {
      if (this.#stopping) return otherwise;
      this.#envoy.error = (error as Error).message;
      this.#options.log.error({ err: error }, 'a step failed and is tried again');
      await this.#envoyWake.wait(RETRY_MS);
      return otherwise;
    } finally {
      this.#busy = false;
      this.#gateWake.call();
      this.#options.onChange();
    }
  }
}

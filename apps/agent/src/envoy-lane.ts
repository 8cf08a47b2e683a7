import { setTimeout as pause } from 'node:timers/promises';
import type { LiveEpoch } from '#platform/envoy/epoch-start.js';
import type { RestartOutcome } from '#platform/envoy/hot-restart.js';
import { prove } from '#platform/envoy/proof.js';
import { type Crash, type EpochConfig, planRecovery } from '#platform/envoy/recovery-plan.js';
import { proveCertificates } from './certificate-proof.js';
import type { Applied, EnvoyLaneOptions } from './envoy-lane-options.js';
import { dropOtherFiles, isLive, type KeyedRelease, nameOf, type ReleaseName, toEpochConfig, writeReleaseFiles } from './release-files.js';

/** A proof takes 20 to 60 ms on a quiet machine; a right answer that needs longer than this is no proof of anything. */
const PROOF_TIMEOUT_MS = 10_000;
const DEFAULT_PROOF_ANSWERS = 30;
/** A release under which Envoy died this often before it was proven is not tried again. */
const DEATHS_ALLOWED = 3;
/** Older configurations that are started when a newer one does not come up. */
const FALLBACKS = 4;

/** Everything that is done to the Envoy itself, one thing at a time: adopt, start, restart, prove, recover. */
export class EnvoyLane {
  readonly #options: EnvoyLaneOptions;
  #running: KeyedRelease | null = null;
  #crashes: Crash[] = [];
  #waitsFor = '';
  readonly #deaths = new Map<string, number>();
  #error = '';

  constructor(options: EnvoyLaneOptions) {
    this.#options = options;
  }

  /** What the live Envoy was started with; null when there is none, or when it runs what this node's disk does not hold. */
  get running(): KeyedRelease | null {
    return this.#running;
  }

  /** The last failure that still stands. */
  get error(): string {
    return this.#error;
  }

  set error(error: string) {
    this.#error = error;
  }

  nameOf(release: KeyedRelease): ReleaseName {
    return isLive(release.release) ? this.#options.live().nameOf(release) : nameOf(release);
  }

  /** At the agent's start: goes on with the Envoy that runs, or starts one from disk. Without either there is nothing to run yet. */
  async begin(): Promise<void> {
    const { supervisor, store, report } = this.#options;
    const fallbacks = [...this.#fallbacks()];
    const adoption = await supervisor.adopt(fallbacks);
    if (adoption.kind === 'none') {
      if (fallbacks.length > 0) await this.recover();
      return;
    }
    const release = store.read(adoption.live.config.key);
    this.#entered(adoption.live, release === null ? null : { key: adoption.live.config.key, release });
    if (this.#running === null) return;
    const detail = adoption.kind === 'adopted' ? '' : adoption.message;
    report({
      name: this.nameOf(this.#running),
      step: adoption.kind === 'healed' ? 'recovered' : 'adopted',
      epochTo: adoption.live.epoch,
      detail,
    });
  }

  /** Whether an Envoy should be live: there was one, or the disk has a configuration that served before. */
  get shouldRun(): boolean {
    return this.#options.supervisor.last !== null || this.#options.store.list().some(({ standing }) => standing === 'good');
  }

  /** Envoy has died, or was never there: starts the best configuration from disk, slower each time. False when none came up. */
  async recover(): Promise<boolean> {
    const { supervisor, report, log } = this.#options;
    const dead = supervisor.last;
    const now = performance.now();
    if (dead !== null) this.#crashes.push({ key: dead.config.key, at: now });
    const wasLive = dead !== null && this.#running !== null && isLive(this.#running.release);
    if (wasLive && this.#options.live().envoyDied()) this.#crashes = [];
    this.#crashes = this.#crashes.slice(-50);
    const good = this.#good();
    const known = good.length > 0 || this.#running === null ? good : [this.#running];
    const plan = planRecovery(this.#crashes, known.map(toEpochConfig), now);
    if (dead !== null)
      log.error({ pid: dead.process.pid, epoch: dead.epoch, config: dead.config.key, delayMs: plan.delayMs }, 'Envoy has died');
    await pause(plan.delayMs, undefined, { signal: this.#options.signal });
    const startedAt = performance.now();
    for (const { key } of plan.candidates) {
      const release = known.find((candidate) => candidate.key === key);
      if (release === undefined) continue;
      this.#write(release);
      try {
        const live = await supervisor.start([toEpochConfig(release)]);
        this.#entered(live, release);
        const durationMs = performance.now() - startedAt;
        report({ name: this.nameOf(release), step: 'recovered', durationMs, epochFrom: dead?.epoch ?? -1, epochTo: live.epoch });
        return true;
      } catch (error) {
        this.#error = `Envoy does not start: ${(error as Error).message}`;
        log.error({ err: error, config: key }, 'Envoy could not be started');
        this.#crashes.push({ key, at: performance.now() });
      }
    }
    return false;
  }

  /** Whether the live Envoy serves the same render already, so that nothing but files and a proof is needed. */
  isRunning({ release: { manifest } }: KeyedRelease): boolean {
    const running = this.#running;
    if (running === null || this.#options.supervisor.live === null || manifest.force) return false;
    return running.release.manifest.renderSha256 === manifest.renderSha256 && manifest.renderSha256 !== '';
  }

  /** The running render with newer facts: endpoints are written, and the marker that runs proves that it still answers. */
  async refresh(next: KeyedRelease): Promise<Applied> {
    const { report, folder } = this.#options;
    const startedAt = performance.now();
    // The configuration that runs is left as it is; the new one is written too, for a start from disk.
    writeReleaseFiles(folder, next);
    if (!isLive(next.release)) report({ name: this.nameOf(next), step: 'endpoints_written', durationMs: performance.now() - startedAt });
    this.#applied(next);
    return this.#prove(next);
  }

  /** A gated release on the Envoy: hot restart (or the first start), then proof. */
  async apply(next: KeyedRelease): Promise<Applied> {
    const { supervisor, report, stats } = this.#options;
    const epochFrom = supervisor.live?.epoch ?? -1;
    writeReleaseFiles(this.#options.folder, next);
    report({ name: this.nameOf(next), step: 'restarting', epochFrom });
    const resume = await stats.pause();
    const outcome = await this.#start(next).finally(resume);
    if (outcome.kind === 'live') {
      this.#entered(outcome.live, next);
      if (outcome.cut)
        report({
          name: this.nameOf(next),
          step: 'cut',
          detail: 'the parent was still draining: its requests were ended, as was asked for',
        });
      report({ name: this.nameOf(next), step: 'restarted', durationMs: outcome.durationMs, epochFrom, epochTo: outcome.live.epoch });
      return this.#prove(next);
    }
    if (outcome.code === 'parent_died') return this.#again(next);
    if (epochFrom === -1) return this.#waitForMachine(next, outcome.code, outcome.message);
    this.#fail(next, outcome.code, outcome.message);
    if (outcome.healed !== null) {
      const healed = this.#good().find(({ key }) => key === outcome.healed?.config.key) ?? this.#running;
      this.#entered(outcome.healed, healed);
      if (healed !== null)
        report({
          name: this.nameOf(healed),
          step: 'recovered',
          epochFrom,
          epochTo: outcome.healed.epoch,
          detail: 'the failed child had taken the admin',
        });
    }
    return 'failed';
  }

  async #proveLive(next: KeyedRelease): Promise<Applied> {
    const { supervisor, store } = this.#options;
    const outcome = await this.#options.live().prove();
    if (outcome.kind === 'again') return supervisor.live === null ? this.#again(next) : 'again';
    if (outcome.kind === 'failed') {
      this.#fail(next, outcome.code, outcome.detail);
      return 'failed';
    }
    store.mark(next.key, 'good', { running: this.#running?.key });
    this.#error = '';
    return 'proven';
  }

  /** Asks the data plane for the running marker; `next` is the release that this proves. */
  async #prove(next: KeyedRelease): Promise<Applied> {
    if (isLive(next.release)) return this.#proveLive(next);
    const { supervisor, store, state, probe, report, failpoint } = this.#options;
    failpoint('agent.beforeProof');
    const marker = this.#running?.release.manifest.marker ?? next.release.manifest.marker;
    const answers = next.release.manifest.proofAnswers || DEFAULT_PROOF_ANSWERS;
    const limits = { timeoutMs: PROOF_TIMEOUT_MS, abandoned: () => supervisor.live === null };
    const first = await prove({ ...probe, marker, answers, ...limits });
    const proof = first.proven ? await proveCertificates({ ...next.release.manifest, proofAnswers: answers }, limits) : first;
    if (!proof.proven && supervisor.live === null) return this.#again(next);
    if (!proof.proven) {
      this.#fail(
        next,
        'proof_missing',
        `seen instead of the ${first.proven ? 'certificates' : 'marker'} after ${proof.requests} requests: ${proof.seen}`,
      );
      return 'failed';
    }
    store.mark(next.key, 'good', { running: this.#running?.key });
    state.change({ proven: this.nameOf(next) });
    this.#error = '';
    report({
      name: this.nameOf(next),
      step: 'proven',
      durationMs: first.durationMs + proof.durationMs,
      epochTo: supervisor.live?.epoch ?? -1,
      detail: `${first.requests} requests${proof === first || proof.requests === 0 ? '' : `, ${proof.requests} handshakes`}`,
    });
    return 'proven';
  }

  /** What to go back to when the running release has failed its proof: the best one that serves something else. */
  bestOther(): KeyedRelease | null {
    const render = this.#running?.release.manifest.renderSha256;
    return this.#good().find(({ release }) => release.manifest.renderSha256 !== render) ?? null;
  }

  /** Removes files that no release on the Envoy, and none of `waiting`, names. */
  dropOldFiles(waiting: readonly KeyedRelease[]): void {
    const { supervisor, folder, store } = this.#options;
    if (supervisor.parent !== null || this.#running === null) return;
    const newest = store.newest('good');
    dropOtherFiles(folder, [this.#running, ...waiting, ...(newest === null ? [] : [newest])]);
  }

  async #start(next: KeyedRelease): Promise<RestartOutcome> {
    const { supervisor } = this.#options;
    const [config, { force }] = [toEpochConfig(next), next.release.manifest];
    if (supervisor.live !== null) return supervisor.restart(config, { fallbacks: this.#fallbacks(next), force });
    const startedAt = performance.now();
    try {
      const live = await supervisor.start([config]);
      return { kind: 'live', live, cut: false, durationMs: performance.now() - startedAt };
    } catch (error) {
      return { kind: 'refused', code: 'child_died', message: (error as Error).message, healed: null, adminLost: false };
    }
  }

  /** What to go back to, read from the disk and put where Envoy reads it only when it is needed: most restarts succeed, and wait for nobody. */
  *#fallbacks(newest?: KeyedRelease): Iterable<EpochConfig> {
    for (const fallback of this.#good()) {
      this.#write(fallback, newest);
      yield toEpochConfig(fallback);
    }
  }

  /**
   * The first start failed with a configuration that has passed the gate: what differs is the machine, a port that is taken as a rule.
   * Told once and tried again, slower each time, until it works or a newer release comes.
   */
  async #waitForMachine(next: KeyedRelease, code: string, message: string): Promise<Applied> {
    const now = performance.now();
    this.#crashes.push({ key: next.key, at: now });
    this.#error = `release ${next.release.manifest.releaseId}: ${code}: ${message}`;
    if (this.#waitsFor !== next.key) this.#options.report({ name: this.nameOf(next), step: 'waiting', code, detail: message });
    this.#waitsFor = next.key;
    await pause(Math.max(500, planRecovery(this.#crashes, [], now).delayMs), undefined, { signal: this.#options.signal });
    return 'again';
  }

  /** Envoy died under a release that was not proven yet. Somebody may have killed it; when it happens again and again it is the release. */
  #again(next: KeyedRelease): Applied {
    this.#deaths.set(next.key, (this.#deaths.get(next.key) ?? 0) + 1);
    if ((this.#deaths.get(next.key) ?? 0) < DEATHS_ALLOWED) return 'again';
    this.#fail(next, 'envoy_died', `Envoy died ${DEATHS_ALLOWED} times before this release was proven`);
    return 'failed';
  }

  #fail(next: KeyedRelease, code: string, detail: string): void {
    this.#options.store.mark(next.key, 'refused', { running: this.#running?.key });
    this.#error = `release ${next.release.manifest.releaseId}: ${code}: ${detail}`;
    this.#options.report({ name: this.nameOf(next), step: 'failed', code, detail });
  }

  #entered(live: LiveEpoch, running: KeyedRelease | null): void {
    this.#running = running;
    if (running !== null) this.#applied(running);
    this.#options.live().progress();
    this.#options.onLive(live);
  }

  #applied(release: KeyedRelease): void {
    const { state } = this.#options;
    if (state.applied?.key !== release.key) state.change({ applied: this.nameOf(release) });
  }

  /** Good releases, the applied one first: what runs well is what to start again. */
  #good(): readonly KeyedRelease[] {
    return this.#options.store.good({ first: this.#options.state.applied?.key, atMost: FALLBACKS });
  }

  #write(release: KeyedRelease, newest: KeyedRelease | null = this.#options.store.newest('good')): void {
    writeReleaseFiles(this.#options.folder, release, newest?.release ?? null);
  }
}

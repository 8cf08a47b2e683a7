import { setTimeout as pause } from 'node:timers/promises';
import { MARKER_PATH, PROBE_HOST } from '#platform/envoy/model/reserved.js';
import type { LiveRelease } from '#platform/xds/generated/delivery.js';
import type { FenceDecision } from './fence.js';
import type { LiveLaneOptions, LiveOutcome } from './live-lane-options.js';
import { LiveProof, planProbes } from './live-proof.js';
import { LiveTrouble, named } from './live-trouble.js';
import { isLive, type KeyedRelease, liveStart, type ReleaseName } from './release-files.js';
import { askable, probedName, type Unproven } from './unproven.js';
import { Wake } from './wake.js';

/** How long Envoy may take to settle: clusters that do not warm are held back after three seconds. */
const SETTLE_MS = 15_000;
/** How long an Envoy that is live may take to come back to its stream after the agent did. */
const RECONNECT_MS = 60_000;
const PROOF_TIMEOUT_MS = 10_000;
const DEFAULT_PROOF_ANSWERS = 30;
/** How long the lane sleeps at most; everything that concerns it calls it. */
const SLEEP_MS = 1000;
/** Between two proofs of a release that is not proven: grows from the first to the last. */
const RETRY_MS = { first: 5000, last: 60_000 };
/** Deaths under a set that was not proven until the one before is served again. */
const DEATHS_ALLOWED = 3;
/** From an accepted live release to a proven one: served at once, proven when Envoy has settled, one proof at a time and always of the newest. */
export class LiveLane {
  readonly #options: LiveLaneOptions;
  readonly #wake = new Wake();
  readonly #progress = new Set<() => void>();
  #proof: LiveProof | null = null;
  #proving: Promise<unknown> = Promise.resolve();
  #busy = false;
  #error = '';
  #failed = '';
  #retryMs = RETRY_MS.first;
  /** A proof is due: something is unproven and the last one did not fail, or something has changed since. */
  #due = true;
  #stopping = false;
  #deaths = 0;
  #applied: LiveRelease | null = null;
  readonly #trouble: LiveTrouble;
  #loop: Promise<void> = Promise.resolve();

  constructor(options: LiveLaneOptions) {
    this.#options = options;
    this.#trouble = new LiveTrouble({ ...options, runsNewest: () => this.#runsNewest(), onFreed: () => this.#dueNow() });
  }

  /** Where the relay says what Envoy does not take. */
  get trouble(): LiveTrouble {
    return this.#trouble;
  }

  start(): void {
    this.#loop = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#trouble.close();
    this.#wake.call();
    this.progress();
    await this.#loop;
  }

  /** The last proof's failure, while it stands. */
  get error(): string {
    return this.#error;
  }

  get busy(): boolean {
    return this.#busy;
  }

  /**
   * Takes a release in. With accept it is written, and on its way to every Envoy that is connected.
   * @throws what the system says when it cannot be written.
   */
  accept(release: LiveRelease): FenceDecision {
    const { node, relay, envoy, save, failpoint } = this.#options;
    let base: KeyedRelease | null = null;
    const decision = node.accept(release, (bootstrap) => {
      if (!release.force && envoy().heads(release.bootstrapSha256)) return;
      const made = liveStart(release, bootstrap);
      base = { key: save(made), release: made };
    });
    if (!decision.accept) return decision;
    relay.update();
    failpoint('agent.afterLiveRelayed');
    const { newest } = node.unproven;
    if (newest !== null) this.#proof?.follow(newest, MARKER_PATH);
    if (base !== null) envoy().take(base);
    // What was written to Envoy leaves at the end of this turn; a proof would only wait for its answer.
    setImmediate(() => {
      this.#dueNow();
      node.checkpointWhenDue();
    });
    return decision;
  }

  /** What a base is called in reports: the newest release that it serves. */
  nameOf({ key, release: { manifest } }: KeyedRelease): ReleaseName {
    const { release } = this.#options.node;
    const named = release !== null && release.bootstrapSha256 === manifest.renderSha256 ? release : manifest;
    return { key, releaseId: named.releaseId, version: named.version, renderSha256: named.renderSha256 };
  }

  /** The newest release that Envoy has settled on; null when it is not known. */
  get applied(): LiveRelease | null {
    return this.#applied;
  }

  /** Something that a waiting proof may wait for has happened: a stream came or settled, Envoy is another one. */
  progress(): void {
    const stream = this.#options.relay.stream;
    if (stream !== null) this.#settledTo(stream.settledRevision);
    for (const call of [...this.#progress]) call();
    this.#wake.call();
  }

  /** Envoy has died. True when what it is served is another set now, so that its death says nothing against its bootstrap. */
  envoyDied(): boolean {
    const { node, relay, report } = this.#options;
    // Under a proven set it says nothing: somebody may have killed it.
    if (node.unproven.newest === null) return false;
    this.#deaths += 1;
    if (this.#deaths < DEATHS_ALLOWED) return false;
    const failed = node.retreat();
    if (failed === null) return false;
    this.#deaths = 0;
    relay.update();
    const detail = `Envoy died ${DEATHS_ALLOWED} times before this release was proven; the last proven one is served`;
    report({ ...named(failed), step: 'failed', code: 'envoy_died', detail, live: true });
    return true;
  }

  /** Proves the newest release, after the proof that is under way. */
  prove(): Promise<LiveOutcome> {
    const proving = this.#proving.then(() => this.#proveNewest());
    this.#proving = proving.catch(() => {}); // told to whoever asked
    return proving;
  }

  async #run(): Promise<void> {
    const { node, log, onChange } = this.#options;
    while (!this.#stopping) {
      await this.#wake.wait(SLEEP_MS);
      if (this.#stopping || !this.#due || this.#busy || node.unproven.newest === null || !this.#runsNewest()) continue;
      try {
        this.#judge(await this.prove());
      } catch (error) {
        log.error({ err: error }, 'a proof failed and is tried again');
        await pause(SLEEP_MS);
      }
      onChange();
    }
  }

  /** A proof that was missing is told once for a release, and tried again, since the machine may have been too busy to answer. */
  #judge(outcome: LiveOutcome): void {
    const { node, report, signal } = this.#options;
    this.#error = '';
    if (outcome.kind === 'proven') this.#retryMs = RETRY_MS.first;
    if (outcome.kind !== 'failed' || node.release === null) return;
    const { release } = node;
    this.#error = `release ${release.releaseId}: ${outcome.code}: ${outcome.detail}`;
    if (this.#failed !== release.releaseId)
      report({ ...named(release), step: 'failed', code: outcome.code, detail: outcome.detail, live: true });
    this.#failed = release.releaseId;
    void pause(this.#retryMs, undefined, { signal }).then(
      () => this.#dueNow(),
      () => {}, // the agent ends
    );
    this.#retryMs = Math.min(RETRY_MS.last, this.#retryMs * 2);
  }

  #dueNow(): void {
    this.#due = true;
    this.#wake.call();
  }

  /** Whether the live Envoy was started with the bootstrap of the newest release. */
  #runsNewest(): boolean {
    const { envoy, node, supervisor } = this.#options;
    const running = envoy().running;
    if (running === null || supervisor.live === null || !isLive(running.release)) return false;
    return running.release.manifest.renderSha256 === node.bootstrapSha256;
  }

  async #proveNewest(): Promise<LiveOutcome> {
    this.#busy = true;
    this.#options.onChange();
    try {
      return await this.#proveNow();
    } finally {
      this.#busy = false;
      this.#proof = null;
      this.#wake.call();
    }
  }

  async #proveNow(): Promise<LiveOutcome> {
    const { node, supervisor, probe, failpoint } = this.#options;
    this.#due = false;
    this.#tellRefused(); // Envoy does not ask for the routes of a listener that it refuses, and so never settles
    await this.#untilSettled();
    this.#tellRefused();
    if (supervisor.live === null || this.#stopping) {
      this.#due = true; // of the Envoy that comes after it
      return { kind: 'again' };
    }
    const target = node.unproven.merge();
    const release = target?.release ?? node.release;
    if (release === null) return { kind: 'failed', code: 'proof_missing', detail: 'no release is known' };
    failpoint('agent.beforeProof');
    const { asked, held } = this.#probesOf(target);
    const plan = planProbes(asked, { path: MARKER_PATH, body: release.marker }, release.proofAnswers || DEFAULT_PROOF_ANSWERS);
    this.#proof = new LiveProof(plan);
    const headers = { host: PROBE_HOST, ...probe.headers };
    // Envoy may die, or the agent end: neither says anything against the release.
    const abandoned = () => supervisor.live === null || this.#stopping;
    const proof = await this.#proof.run({ ...probe, headers, timeoutMs: PROOF_TIMEOUT_MS, abandoned });
    if (proof.proven) return this.#proven(release, target, proof, held);
    if (abandoned() || this.#trouble.machineInTheWay) {
      this.#due = true;
      return { kind: 'again' };
    }
    return { kind: 'failed', code: 'proof_missing', detail: `seen instead after ${proof.requests} requests: ${proof.seen}` };
  }

  /** What an epoch refused before it was live was nobody's business then. */
  #tellRefused(): void {
    for (const rejection of this.#options.relay.stream?.rejected.values() ?? []) this.#trouble.rejected(rejection);
    this.#trouble.tell();
  }

  #proven(
    release: LiveRelease,
    target: Unproven | null,
    { requests, durationMs }: { requests: number; durationMs: number },
    held: ReadonlyMap<string, string>,
  ): LiveOutcome {
    const { node, state, report, supervisor } = this.#options;
    const running = this.#options.envoy().running;
    if (target !== null) node.unproven.settle(target);
    this.#trouble.owe(held);
    this.#trouble.proven();
    this.#deaths = 0;
    this.#due = true;
    const about = named(release);
    state.change({ proven: about.name, ...(running === null ? {} : { applied: { ...about.name, key: running.key } }) });
    node.proven(release.releaseId);
    this.#options.envoy().runsWell();
    const epochTo = supervisor.live?.epoch ?? -1;
    const coversFrom = target?.coversFrom ?? release.version;
    report({ ...about, coversFrom, step: 'proven', durationMs, epochTo, detail: `${requests} requests`, live: true });
    return { kind: 'proven' };
  }

  /** What is to be asked for, without what Envoy refuses or must not have yet; `held` is asked for when it has come. */
  #probesOf(target: Unproven | null): { asked: ReadonlyMap<string, string>; held: ReadonlyMap<string, string> } {
    const { node, relay } = this.#options;
    const all = [...askable(target?.probes ?? new Map())];
    const refused = new Set(node.refusedNames);
    const held = new Set([...(relay.stream?.heldBack.values() ?? [])].map(({ key }) => key.name));
    return {
      asked: new Map(all.filter(([path]) => !refused.has(probedName(path)) && !held.has(probedName(path)))),
      held: new Map(all.filter(([path]) => held.has(probedName(path)))),
    };
  }

  /** Until the live Envoy has settled on what is served now; not for ever: then the proof says what is wrong. */
  async #untilSettled(): Promise<void> {
    const { relay, node, supervisor } = this.#options;
    const wanted = node.served.revision;
    const settled = () => (relay.stream?.settledRevision ?? -1) >= wanted;
    const startedAt = performance.now();
    // One that is connected lives: asking the system each time would cost more than all else here.
    while (!settled() && !this.#stopping && (relay.stream !== null || supervisor.live !== null)) {
      const left = startedAt + (relay.stream === null ? RECONNECT_MS : SETTLE_MS) - performance.now();
      if (left <= 0) return;
      const wake = new Wake();
      const call = () => wake.call();
      this.#progress.add(call);
      await wake.wait(Math.min(left, SLEEP_MS));
      this.#progress.delete(call);
    }
  }

  #settledTo(revision: number): void {
    const { node, onChange } = this.#options;
    node.settled(revision);
    const reached =
      node.unproven.all.findLast((one) => one.revision <= revision)?.release ?? (revision >= node.served.revision ? node.release : null);
    if (reached === null || reached === this.#applied) return;
    this.#applied = reached;
    onChange();
  }
}

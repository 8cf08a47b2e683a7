import { sha256Hex } from '#platform/kernel/digest.js';
import { type AgentConnection, connectAgent, DeliveryRefusal } from '#platform/xds/agent-connection.js';
import { type Fence, type Hello, type LiveRelease, type Manifest, type Report, Status } from '#platform/xds/generated/delivery.js';
import { BOOTSTRAP_TYPE, ENDPOINTS_TYPE } from '#platform/xds/resource.js';

import { type LiveRefusal, ScriptedLive } from './scripted-live.fixture.js';

export interface ScriptedAgentOptions {
  readonly target: string;
  readonly gateway: string;
  readonly token?: string;
  /** Where its Envoy takes TLS. */
  readonly https?: { readonly address: string; readonly port: number };
  /** How long the parent drains after a restart. */
  readonly drainMs?: number;
  /** How long gate, restart and proof take together. */
  readonly restartMs?: number;
  /** What Envoy would say against this bootstrap; undefined when it takes it. */
  refuses?(bootstrap: string): string | undefined;
  /** What its Envoy refuses of a live release, while the rest is in force. */
  refusesLive?(release: LiveRelease): LiveRefusal | undefined;
}

/** An agent without an Envoy: it keeps the protocol as the real one does, and a test says how its Envoy behaves. */
export class ScriptedAgent {
  readonly releases: Manifest[] = [];
  readonly restarts: Manifest[] = [];
  readonly refusedPushes: string[] = [];
  readonly files = new Map<string, { version: string; json: Buffer }>();
  readonly live = new ScriptedLive();
  validations = 0;
  lastFence: Fence | undefined;
  status: Status;
  closedBecause: string | undefined;
  /** While true nothing is done with accepted releases and no report is sent. */
  frozen = false;
  /** While true live releases are not acknowledged: the worker must not send another one. */
  slow = false;
  #awaited: (() => void)[] = [];
  #connection: AgentConnection | undefined;
  #appliedBootstrap = '';
  #lastRender = '';
  #reportId = 0;
  readonly #journal = new Map<number, Report>();
  #instance = 0;
  #drainTimer: NodeJS.Timeout | undefined;

  constructor(readonly options: ScriptedAgentOptions) {
    this.status = Status.fromPartial({ state: 'idle', epoch: -1, delivery: 'hot-restart' });
  }

  get bootstrap(): string {
    return this.files.get('bootstrap')?.json.toString() ?? '';
  }

  async connect(port: number): Promise<void> {
    this.#instance += 1;
    this.closedBecause = undefined;
    const held = new Map<string, Map<string, string>>([
      [ENDPOINTS_TYPE, new Map()],
      [BOOTSTRAP_TYPE, new Map()],
    ]);
    for (const [name, { version }] of this.files) held.get(name === 'bootstrap' ? BOOTSTRAP_TYPE : ENDPOINTS_TYPE)?.set(name, version);
    const hello: Hello = {
      target: this.options.target,
      gateway: this.options.gateway,
      instance: String(this.#instance),
      agentVersion: 'scripted',
      envoyVersion: '1.40.0',
      http: { address: '127.0.0.1', port: 10_080 },
      https: this.options.https,
      proofSecret: 'a-proof-secret-of-the-test',
      lastFence: this.lastFence,
      status: this.status,
      lastRenderSha256: this.#lastRender,
      liveDigest: this.live.digest,
      liveBootstrapSha256: this.live.bootstrapSha256,
    };
    this.#connection = await connectAgent({
      address: `127.0.0.1:${port}`,
      token: this.options.token ?? 'agent-token',
      hello,
      held,
      onResources: async ({ resources, removed }) => {
        for (const name of removed) this.files.delete(name);
        for (const resource of resources) {
          if (resource.kind === 'manifest') this.#accept(resource.manifest);
          else if (resource.kind === 'live') await this.#acceptLive(resource.release);
          else this.files.set(resource.name, { version: resource.version, json: resource.json });
        }
      },
      onReportAck: (id) => this.#journal.delete(id),
      onValidate: ({ requestId, json }) => {
        this.validations += 1;
        const message = this.options.refuses?.(json.toString());
        this.#connection?.sendValidated({ requestId, ok: message === undefined, message: message ?? '', durationMs: 1 });
      },
      onClosed: (reason) => {
        this.closedBecause = reason;
      },
    });
    for (const report of this.#journal.values()) this.#connection.sendReport(report);
    this.#connection.sendStatus(this.status); // it may have changed since the hello was written, while nobody could be told
  }

  /** Dials again when its stream has ended, as the real agent does: a worker that cannot take it now may take it the next time. */
  async reconnect(port: number): Promise<void> {
    if (this.closedBecause === undefined) return;
    await this.connect(port).catch((error: Error) => {
      this.closedBecause = error.message;
    });
  }

  close(): void {
    clearTimeout(this.#drainTimer);
    this.#connection?.close();
  }

  /** Reports that no worker has acknowledged yet. */
  get unacknowledged(): number {
    return this.#journal.size;
  }

  report(step: string, manifest: Pick<Manifest, 'releaseId' | 'version'>, more: Partial<Report> = {}): void {
    this.#reportId += 1;
    const report: Report = {
      id: this.#reportId,
      releaseId: manifest.releaseId,
      step,
      atMs: Date.now(),
      durationMs: 1,
      epochFrom: -1,
      epochTo: -1,
      code: '',
      detail: '',
      version: manifest.version,
      coversFrom: 0,
      resources: [],
      renderSha256: '',
      ...more,
    };
    this.#journal.set(report.id, report);
    this.#connection?.sendReport(report);
  }

  setStatus(change: Partial<Status>): void {
    this.status = { ...this.status, ...change };
    this.#connection?.sendStatus(this.status);
  }

  /** Sums of the whole Envoy, by name. */
  sendEnvoyStats(counters: Readonly<Record<string, number>>): void {
    const envoy = Object.entries(counters).map(([name, value]) => ({ name, value }));
    this.#connection?.sendStats({ atMs: Date.now(), routes: [], clusters: [], envoy });
  }

  sendRouteStats(statPrefix: string, rq2xx: number): void {
    this.#connection?.sendStats({
      atMs: Date.now(),
      routes: [{ statPrefix, rq2xx, rq3xx: 0, rq4xx: 0, rq5xx: 0, rqTotal: rq2xx }],
      clusters: [],
      envoy: [{ name: 'server.live', value: 1 }],
    });
  }

  /** Acknowledges what waited while it was slow. */
  quicken(): void {
    this.slow = false;
    for (const go of this.#awaited.splice(0)) go();
  }

  async #acceptLive(release: LiveRelease): Promise<void> {
    if (this.slow) await new Promise<void>((resolve) => this.#awaited.push(resolve));
    const fence = this.#passFence(release);
    this.live.accept(release);
    this.lastFence = fence;
    this.#lastRender = release.renderSha256;
    setImmediate(() => this.prove());
  }

  /** What the real agent does with the live releases that it has accepted: one proof of the newest, which covers the others. */
  prove(): void {
    if (this.frozen) return;
    const proof = this.live.takeUnproven();
    if (proof === undefined) return;
    const { release, coversFrom } = proof;
    const of = { version: release.version, coversFrom, renderSha256: release.renderSha256 };
    const refusal = this.options.refusesLive?.(release);
    if (refusal !== undefined) {
      this.report('refused', release, { ...of, code: 'envoy_refused', detail: refusal.detail, resources: [...refusal.resources] });
    }
    const applied = { appliedRelease: release.releaseId, appliedVersion: release.version, appliedRenderSha256: release.renderSha256 };
    this.setStatus({ state: 'idle', epoch: 0, delivery: 'live', ...applied });
    this.report('proven', release, of);
  }

  #passFence({ fence, releaseId }: Pick<Manifest, 'fence' | 'releaseId'>): Fence {
    if (fence === undefined) throw new DeliveryRefusal('no fence');
    if (this.lastFence !== undefined && !newer(fence, this.lastFence)) {
      this.refusedPushes.push(releaseId);
      throw new DeliveryRefusal(`not newer than ${this.lastFence.lineage}.${this.lastFence.term}.${this.lastFence.sequence}`);
    }
    return fence;
  }

  #accept(manifest: Manifest): void {
    const fence = this.#passFence(manifest);
    for (const item of manifest.items) {
      const file = this.files.get(item.name);
      if (file?.version !== item.sha256 || (item.typeUrl === ENDPOINTS_TYPE && sha256Hex(file.json) !== item.sha256))
        throw new DeliveryRefusal(`${item.name} of ${manifest.releaseId} is not here`);
    }
    this.lastFence = fence;
    this.#lastRender = manifest.renderSha256;
    this.releases.push(manifest);
    setImmediate(() => void this.carryOut(manifest));
  }

  /** What the real agent does with an accepted release. */
  async carryOut(manifest: Manifest): Promise<void> {
    if (this.frozen) return;
    this.report('accepted', manifest);
    const bootstrap = this.bootstrap;
    const refusal = this.options.refuses?.(bootstrap);
    if (refusal !== undefined) {
      this.report('refused', manifest, { code: 'envoy_refused', detail: refusal });
      return;
    }
    const applied = { appliedRelease: manifest.releaseId, appliedVersion: manifest.version, appliedRenderSha256: manifest.renderSha256 };
    const proven = { provenRelease: manifest.releaseId, provenVersion: manifest.version };
    if (bootstrap === this.#appliedBootstrap && !manifest.force) {
      this.report('endpoints_written', manifest);
      this.setStatus({ ...applied, ...proven });
      this.report('proven', manifest);
      return;
    }
    this.setStatus({ state: 'busy' });
    this.report('validated', manifest);
    await new Promise((resolve) => setTimeout(resolve, this.options.restartMs ?? 5));
    const epoch = this.status.epoch + 1;
    this.restarts.push(manifest);
    this.#appliedBootstrap = bootstrap;
    this.report('restarted', manifest, { epochFrom: epoch - 1, epochTo: epoch });
    const drainMs = this.options.drainMs ?? 0;
    const windowEndsMs = drainMs > 0 && epoch > 0 ? Date.now() + drainMs : 0;
    this.report('proven', manifest, { epochFrom: epoch - 1, epochTo: epoch });
    this.setStatus({ state: windowEndsMs > 0 ? 'draining' : 'idle', epoch, windowEndsMs, ...applied, ...proven });
    if (windowEndsMs > 0) {
      clearTimeout(this.#drainTimer);
      this.#drainTimer = setTimeout(() => this.setStatus({ state: 'idle', windowEndsMs: 0 }), drainMs);
    }
  }
}

function newer(fence: Fence, last: Fence): boolean {
  if (fence.lineage !== last.lineage) return fence.lineage > last.lineage;
  if (fence.term !== last.term) return fence.term > last.term;
  return fence.sequence > last.sequence;
}

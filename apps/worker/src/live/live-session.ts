import type { ListenAddress } from '#features/gateway/gateway.js';
import { sessionTickets } from '#features/gateway/tls-secrets.envoy.js';
import { certificateProbes, type ServedCertificate } from '#features/layout/certificate-probes.js';
import { nodeResources } from '#features/layout/node-resources.js';
import { shardProbes } from '#features/layout/shard-probes.js';
import { releaseId, type Trigger } from '#features/rollout/rollout.js';
import { failpoint } from '#platform/failpoint/failpoint.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import { encodeLiveRelease, type LiveReleaseHead } from '#platform/xds/live-release.js';
import type { LiveAnswer } from '#platform/xds/live-stream.js';
import { digestOfSets, ResourceSet } from '#platform/xds/resource-set.js';
import { type ResourceChange, resourceId, type XdsResource } from '#platform/xds/xds-resource.js';
import type { NodeSecrets } from '../secrets/lane-secrets.js';
import type { TargetSession } from '../targets/target-session.js';
import type { FenceBlock } from './fence-block.js';
import { LiveBlocks } from './live-blocks.js';
import { changeBetween, digestDifference, mergedChange } from './live-change.js';
import type { LiveLane } from './live-lane.js';
import type { NodeBasis } from './node-basis.js';

/** What a target holds when it has acknowledged what was sent to it. */
interface Held {
  readonly lane: LiveLane;
  readonly revision: number;
  readonly nodeRevision: number;
  readonly digest: string;
  readonly bootstrapSha256: string;
}

/** A release that was sent, until its outcome is known. */
export interface SentRelease {
  readonly releaseId: string;
  readonly sequence: number;
  readonly version: number;
  readonly coversFrom: number;
  readonly renderSha256: string;
  readonly trigger: Trigger;
  readonly sentAtMs: number;
  /** When the newest change in it was seen. */
  readonly seenAtMs: number;
  /** Of the lane's set. */
  readonly revision: number;
  /** Which the target has then. */
  readonly certificates: readonly ServedCertificate[];
}

export interface LiveSessionOptions {
  readonly session: TargetSession;
  readonly lane: LiveLane;
  readonly fences: FenceBlock;
  /** The target has answered a release. */
  onAnswer(live: LiveSession, release: SentRelease, answer: LiveAnswer): void;
  /** What the lane serves at its version is what this target has proven: nothing had to be sent for it. */
  onUnchanged(live: LiveSession): void;
}

const MOST_SENT = 1_024;
/** As many right answers in a row make a proof for a release that is pushed live as for one that restarts Envoy. */
const PROOF_ANSWERS = 30;

/**
 * One target that is delivered live: what it holds, what was sent to it, and what it must be sent next. There is one release at most that it has not
 * acknowledged; what changes meanwhile is merged into the next one.
 */
export class LiveSession {
  readonly session: TargetSession;
  readonly fences: FenceBlock;
  readonly blocks = new LiveBlocks();
  readonly #options: LiveSessionOptions;
  readonly #node = new ResourceSet();
  readonly #sent = new Map<string, SentRelease>();
  #lane: LiveLane;
  #basis: NodeBasis | undefined;
  #secrets: NodeSecrets | undefined;
  #overlay: readonly XdsResource[] = [];
  #overlayOf = '';
  /** The target does not have what only nodes have. */
  #withoutHeld = false;
  #https: ListenAddress | null = null;
  #bootstrap: { readonly json: Buffer; readonly sha256: string; readonly marker: string } | undefined;
  #held: Held | undefined;
  #opened = false;
  /** The version of the newest release that was sent; what the agent said that it runs before there was one. */
  #version: number;
  #refusedBase = false;
  #refused: { readonly revision: number; readonly version: number } | undefined;

  constructor(options: LiveSessionOptions) {
    this.#options = options;
    this.session = options.session;
    this.fences = options.fences;
    this.#lane = options.lane;
    this.#version = options.session.status.appliedVersion;
  }

  get lane(): LiveLane {
    return this.#lane;
  }

  /** Brings the target to another lane; what it holds of the old one is sent again only where the new one differs. */
  assign(lane: LiveLane): void {
    if (this.#lane === lane) return;
    this.#lane = lane;
    this.update();
  }

  /** What the target should serve; undefined until the lane was built. */
  get newest(): { readonly version: number; readonly renderSha256: string } | undefined {
    if (this.#lane.version === 0) return undefined;
    this.#refreshNode();
    return { version: this.#lane.version, renderSha256: this.#renderOf(digestOfSets([this.#lane.set, this.#node])) };
  }

  /** Releases that were sent and whose outcome is not known, oldest first. */
  get unproven(): readonly SentRelease[] {
    return [...this.#sent.values()];
  }

  sent(release: string): SentRelease | undefined {
    return this.#sent.get(release);
  }

  /** The outcome of this release is known, and with it that of all before it. */
  forget(sequence: number): void {
    for (const [id, sent] of this.#sent) if (sent.sequence <= sequence) this.#sent.delete(id);
  }

  /** Sends what the target lacks, if it can be sent now; otherwise that comes by itself when the target or the fence is ready. */
  update(): void {
    if (!this.#canSend()) return;
    const change = this.#difference();
    const hasBootstrap = this.#held?.bootstrapSha256 === this.#bootstrap?.sha256;
    if (this.#held !== undefined && hasBootstrap && change.upserts.length + change.removed.length === 0) {
      if (this.#version === this.#lane.version) return;
      this.#version = this.#lane.version;
      this.#options.onUnchanged(this);
      return;
    }
    if (this.#refused?.revision === this.#lane.set.revision && this.#refused.version === this.#lane.version) return; // not the same again at once
    this.#send(change, this.#triggerOf());
  }

  /** Sends a release although the target may hold all of it: it proves itself again, and with `force` it restarts. False when it cannot be sent now. */
  again(trigger: Trigger, force: boolean): boolean {
    if (!this.#canSend()) return false;
    this.#refused = undefined;
    return this.#send(this.#difference(), trigger, force);
  }

  #canSend(): boolean {
    if (this.session.readOnly || !this.session.delivery.takesLive || this.#lane.version === 0) return false;
    this.#refreshNode();
    if (!this.#opened) this.#held = this.#heldAtOpen();
    this.#opened = true;
    return true;
  }

  /** What the target said that it holds when it connected: all of it, an older state of the lane that is known, or something that is not. */
  #heldAtOpen(): Held | undefined {
    const { liveDigest, liveBootstrapSha256 } = this.session.delivery.hello;
    if (liveDigest === '') return undefined;
    const revision = this.#lane.revisionOf(digestDifference(liveDigest, this.#node.digest));
    if (revision === undefined || this.#lane.set.changesSince(revision) === undefined) return undefined;
    return { lane: this.#lane, revision, nodeRevision: this.#node.revision, digest: liveDigest, bootstrapSha256: liveBootstrapSha256 };
  }

  #refreshNode(): void {
    const { basis, secrets } = this.#lane;
    if (this.#basis === basis && this.#secrets === secrets) return;
    const isHere = ({ value }: XdsResource) => value.length > 0 || !this.#withoutHeld;
    const resources = secrets.resources.filter(isHere);
    const names = new Set(resources.map(({ name }) => name));
    const certificates = basis.secrets.certificates.filter((name) => names.has(name));
    this.#refreshOverlay({ ...basis, secrets: { certificates, tickets: names.has(sessionTickets) } });
    const own = [...this.#overlay, ...resources];
    // What has bytes now, and had none: an equal version alone would be no change.
    const opened = resources.filter((resource) => resource.value.length > 0 && this.#node.get(resource)?.value.length === 0);
    this.#node.apply({ upserts: [], removed: opened });
    const kept = new Set(own.map(resourceId));
    this.#node.apply({ upserts: own, removed: [...this.#node].filter((resource) => !kept.has(resourceId(resource))) });
    this.#basis = basis;
    this.#secrets = secrets;
  }

  #refreshOverlay(basis: NodeBasis): void {
    const of = JSON.stringify(basis);
    if (of === this.#overlayOf) return; // a rotation leaves the listener alone, and costs a target nothing but the secret
    this.#overlayOf = of;
    const { http, https, proofSecret } = this.session.delivery.hello;
    const node = { http: listenAddress(http), https: listenAddress(https), proofSecret };
    const made = nodeResources({ gateway: this.#lane.source.gateway, ...basis, node });
    this.#overlay = made.overlay;
    this.#https = node.https ?? basis.settings.https;
    this.#bootstrap = { json: made.bootstrap, sha256: made.bootstrapSha256, marker: made.marker };
  }

  /** From what the target holds to what it should hold; with nothing to start from, everything. */
  #difference(): ResourceChange {
    const held = this.#held;
    const own = held === undefined ? undefined : this.#node.changesSince(held.nodeRevision);
    const common = held === undefined ? undefined : changeBetween(held.lane.set, held.revision, this.#lane.set);
    if (own !== undefined && common !== undefined) return mergedChange(common, own);
    this.#held = undefined;
    return { upserts: [...this.#lane.set, ...this.#node], removed: [] };
  }

  #send(change: ResourceChange, trigger: Trigger, force = false): boolean {
    const fence = this.fences.take();
    const bootstrap = this.#bootstrap;
    if (fence === undefined || bootstrap === undefined) return false;
    failpoint('worker.beforeLivePush');
    const held = this.#held;
    const lane = this.#lane;
    const digest = digestOfSets([lane.set, this.#node]);
    const { settings, gateway } = lane.source;
    const head: LiveReleaseHead = {
      releaseId: releaseId(fence),
      fence,
      gateway,
      version: lane.version,
      coversFrom: this.#version > 0 && this.#version < lane.version ? this.#version + 1 : lane.version,
      baseDigest: held?.digest ?? '',
      digest,
      bootstrap: held?.bootstrapSha256 === bootstrap.sha256 ? undefined : bootstrap.json,
      bootstrapSha256: bootstrap.sha256,
      renderSha256: this.#renderOf(digest),
      probes: [...shardProbes(change), ...certificateProbes(change, { ...lane.secrets, at: this.#https })],
      marker: bootstrap.marker,
      drainTimeS: settings.drainTimeS,
      parentShutdownTimeS: settings.parentShutdownTimeS,
      force,
      lowerVersionReason: lane.lowerVersionReason,
      proofAnswers: PROOF_ANSWERS,
    };
    const { version, coversFrom, renderSha256 } = head;
    const release = {
      releaseId: head.releaseId,
      sequence: fence.sequence,
      version,
      coversFrom,
      renderSha256,
      trigger,
      sentAtMs: Date.now(),
      certificates: lane.secrets.certificates,
    };
    const sent: SentRelease = { ...release, seenAtMs: lane.seenAtMs, revision: lane.set.revision };
    const base = { held, version: this.#version };
    this.#held = {
      lane,
      revision: lane.set.revision,
      nodeRevision: this.#node.revision,
      digest,
      bootstrapSha256: bootstrap.sha256,
    };
    this.#version = lane.version;
    this.#remember(sent);
    this.blocks.sent(sent.sequence, change);
    this.session.delivery.pushLive(encodeLiveRelease(head, change), (answer) => this.#answered(sent, base, answer));
    failpoint('worker.afterLivePush');
    return true;
  }

  #answered(sent: SentRelease, base: { readonly held: Held | undefined; readonly version: number }, answer: LiveAnswer): void {
    if (answer.kind === 'acknowledged') {
      this.#refusedBase = false;
      this.#refused = undefined;
    } else {
      this.#sent.delete(sent.releaseId);
      this.#version = base.version;
      const isBase = answer.message.startsWith('base_mismatch');
      const isWithout = answer.message.startsWith('secret_missing') && !this.#withoutHeld;
      if (isWithout) [this.#withoutHeld, this.#basis] = [true, undefined];
      this.#held = isBase ? undefined : base.held;
      // A second time in a row it is no misunderstanding about what the target holds.
      if (!isWithout && (!isBase || this.#refusedBase)) this.#refused = { revision: this.#lane.set.revision, version: this.#lane.version };
      this.#refusedBase = isBase;
    }
    this.#options.onAnswer(this, sent, answer);
    this.update();
  }

  #remember(sent: SentRelease): void {
    this.#sent.set(sent.releaseId, sent);
    if (this.#sent.size > MOST_SENT) this.#sent.delete(this.#sent.keys().next().value ?? '');
  }

  #renderOf(digest: string): string {
    return sha256Hex(`${digest}\n${this.#bootstrap?.sha256 ?? ''}`);
  }

  #triggerOf(): Trigger {
    if (this.#lane.version !== this.#version) return 'change';
    return this.#held === undefined ? 'drift' : 'endpoints';
  }
}

function listenAddress(at: { readonly address: string; readonly port: number } | undefined): ListenAddress | null {
  return at === undefined || at.port === 0 ? null : { address: at.address, port: at.port };
}

import { type LiveStore, type RefusedResource, resourceOf } from '#platform/envoy/live-store.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import type { LiveRelease } from '#platform/xds/generated/delivery.js';
import { ResourceSet } from '#platform/xds/resource-set.js';
import {
  EXTENSION_TYPE,
  LISTENER_TYPE,
  type ResourceChange,
  type ResourceKey,
  resourceId,
  SCOPED_ROUTE_TYPE,
  type XdsResource,
} from '#platform/xds/xds-resource.js';
import { compareFences, decideFence, type FenceDecision, refuse } from './fence.js';
import { withHeld } from './held-resources.js';
import type { NodeState } from './node-state.js';
import { UnprovenReleases, withoutChanges } from './unproven.js';

export interface LiveNodeOptions {
  readonly store: LiveStore;
  readonly state: NodeState;
  readonly failpoint: (name: string) => void;
}

const NO_BYTES = Buffer.alloc(0);
/** Versions of one resource that are remembered while Envoy does not settle: it has one of the newest, or the one that it settled on. */
const MOST_BEFORE = 32;

/**
 * What this node holds of a gateway that is delivered live. Two sets: the one that was accepted, which the worker builds on, and the one that Envoys are
 * served, which differs from it where Envoy has refused something or died of it.
 */
export class LiveNode {
  readonly served = new ResourceSet();
  readonly unproven = new UnprovenReleases();
  readonly #options: LiveNodeOptions;
  #accepted = new ResourceSet();
  #release: LiveRelease | null = null;
  #bootstrap: Buffer = NO_BYTES;
  /** What is served is not the accepted set, but for refusals. */
  #partial = false;
  /** Envoy died of the accepted set. */
  #failed = false;
  readonly #refused = new Map<string, RefusedResource>();
  /** By resourceId: what was served since Envoy settled last, oldest first, without what is served now. */
  readonly #before = new Map<string, XdsResource[]>();

  constructor(options: LiveNodeOptions) {
    this.#options = options;
  }

  /** The newest accepted release, without its changes; null when there was none. */
  get release(): LiveRelease | null {
    return this.#release;
  }

  /** Of the release in force. */
  get bootstrap(): Buffer {
    return this.#bootstrap;
  }

  /** Names the accepted set; '' when there is none. */
  get digest(): string {
    return this.#release === null ? '' : this.#accepted.digest;
  }

  get bootstrapSha256(): string {
    return this.#release?.bootstrapSha256 ?? '';
  }

  /** Names of resources of which Envoy has something older than what was accepted, or nothing. */
  get refusedNames(): readonly string[] {
    return [...this.#refused.values()].map(({ name }) => name);
  }

  /** Takes from the disk what is whole. To be called once, first. */
  load(): void {
    const { store, state } = this.#options;
    const { newest, last } = store.open();
    if (last?.fence !== undefined && (state.accepted === null || compareFences(last.fence, state.accepted.fence) > 0))
      state.remember({ fence: last.fence, version: last.version, renderSha256: last.renderSha256 });
    if (newest === null) return;
    this.#accepted = ResourceSet.of(newest.resources);
    this.#release = withoutChanges(newest.release);
    this.#bootstrap = newest.bootstrap;
    for (const refused of newest.refused)
      if (this.#accepted.get(refused)?.version === refused.version) this.#refused.set(resourceId(refused), refused);
    this.#failed = newest.standing === 'failed';
    this.#partial = this.#failed;
    const proven = this.#failed ? store.newest((_release, standing) => standing === 'proven') : null;
    this.served.apply({ upserts: proven?.resources ?? this.#asServed(newest.resources), removed: [] });
    if (!this.#failed) for (const release of newest.unproven) this.unproven.add(release, this.served.revision);
  }

  /**
   * Takes a release in: fence, checks, disk. With accept it survives whatever happens next, and the served set has it. `prepare` makes ready what the
   * disk must hold besides, when its bootstrap is not `running`'s.
   * @throws what the system says when it cannot be written; then nothing has changed.
   */
  accept(sent: LiveRelease, prepare: (bootstrap: Buffer) => void): FenceDecision {
    const { store, state, failpoint } = this.#options;
    const decision = decideFence(state.accepted, sent);
    if (!decision.accept || sent.fence === undefined) return decision;
    const release = withHeld(sent, this.#accepted);
    if ('accept' in release) return release;
    const bootstrap = release.bootstrap.length > 0 ? release.bootstrap : this.#bootstrap;
    if (sha256Hex(bootstrap) !== release.bootstrapSha256)
      return refuse('incomplete', `the bootstrap ${release.bootstrapSha256} was not sent, or is damaged`);
    if (release.baseDigest !== '' && release.baseDigest !== this.digest)
      return refuse('base_mismatch', `the node holds ${this.digest || 'nothing'}, not ${release.baseDigest}`);
    const change = this.#changeOf(release);
    if ('accept' in change) return change;
    const undo = reverseOf(change, this.#accepted);
    this.#accepted.apply(change);
    try {
      const fault = this.#faultOf(release);
      if (fault !== null) {
        this.#accepted.apply(undo);
        return fault;
      }
      prepare(bootstrap);
      store.append(release);
    } catch (error) {
      this.#accepted.apply(undo);
      throw error;
    }
    failpoint('agent.afterLiveWritten');
    state.remember({ fence: sent.fence, version: release.version, renderSha256: release.renderSha256 });
    const sameBootstrap = release.bootstrapSha256 === this.bootstrapSha256;
    this.#release = withoutChanges(release);
    this.#bootstrap = bootstrap;
    this.#serve(change, sameBootstrap);
    this.unproven.add(release, this.served.revision);
    return decision;
  }

  /**
   * Envoy refuses this version under the bootstrap in force: from now on it is served what it has instead. False when that is old news.
   * @param held the version that Envoy acknowledged last; undefined when that is not known, or there is none
   */
  refuse(key: ResourceKey, version: string, held: string | undefined): boolean {
    const id = resourceId(key);
    if (this.#accepted.get(key)?.version !== version || this.served.get(key)?.version !== version) return false;
    const before = this.#before.get(id) ?? [];
    // Not simply the one before: it may never have been sent, or have been refused as well. The oldest is the one that Envoy had settled on, if any.
    const instead = before.find((resource) => resource.version === held) ?? before[0] ?? null;
    this.#refused.set(id, { typeUrl: key.typeUrl, name: key.name, version, instead });
    this.served.apply(instead === null ? { upserts: [], removed: [key] } : { upserts: [instead], removed: [] });
    return true;
  }

  /** Writes down what is refused now. */
  saveRefused(): void {
    this.#options.store.refuse([...this.#refused.values()]);
  }

  /** Envoy has settled everything up to this revision of the served set. */
  settled(revision: number): void {
    if (revision >= this.served.revision) this.#before.clear();
  }

  /** The newest release is in force and proven. */
  proven(releaseId: string): void {
    this.#options.store.mark(releaseId, 'proven');
    this.checkpointWhenDue();
  }

  /**
   * Envoy dies under what is served: back to the last set that was proven, until the next release. Answers the release that is given up, or null when there is
   * nothing to go back to.
   */
  retreat(): LiveRelease | null {
    const { store } = this.#options;
    const failed = this.unproven.newest?.release;
    if (failed === undefined || this.#partial) return null;
    const proven = store.newest((_release, standing) => standing === 'proven');
    if (proven === null) return null;
    this.#partial = true;
    this.#failed = true;
    this.served.apply(difference(this.served, proven.resources));
    this.unproven.clear();
    store.mark(failed.releaseId, 'failed');
    return failed;
  }

  /** Takes listeners and routes away from an Envoy that has no listener, so that `giveBack` gives it all of them anew. */
  withhold(): void {
    this.#partial = true;
    this.served.apply({
      upserts: [],
      removed: [LISTENER_TYPE, SCOPED_ROUTE_TYPE, EXTENSION_TYPE].flatMap((type) => [...this.served.ofType(type).values()]),
    });
  }

  giveBack(): void {
    if (!this.#partial) return; // a release has come meanwhile, and brought everything
    this.#partial = false;
    this.served.apply(difference(this.served, this.#asServed(this.#accepted)));
  }

  /** Begins a new segment of the store when it is time; the work goes on beside. */
  checkpointWhenDue(): void {
    const { store } = this.#options;
    const release = this.#release;
    if (release === null || !store.wantsCheckpoint) return;
    const open = this.unproven.newest === null ? null : this.unproven.merge();
    const probes = [...(open?.probes ?? [])].map(([path, body]) => ({ path, body }));
    void store.checkpoint({
      release: { ...release, probes, coversFrom: open?.coversFrom ?? release.coversFrom },
      resources: [...this.#accepted],
      bootstrap: this.#bootstrap,
      standing: this.#failed ? 'failed' : open === null ? 'proven' : undefined,
      refused: [...this.#refused.values()],
    });
  }

  #changeOf(release: LiveRelease): ResourceChange | (FenceDecision & { accept: false }) {
    const upserts = release.changed.map(resourceOf);
    const damaged = upserts.find(({ version, value }) => sha256Hex(value) !== version);
    if (damaged !== undefined) return refuse('damaged', `${damaged.typeUrl} ${damaged.name} does not have the hash that it is sent with`);
    const names = new Set([...upserts, ...release.removed].map(resourceId));
    if (names.size < upserts.length + release.removed.length) return refuse('malformed', 'the release names a resource twice');
    if (release.baseDigest !== '') return { upserts, removed: release.removed };
    return { upserts, removed: [...this.#accepted].filter((resource) => !names.has(resourceId(resource))) };
  }

  /** What is wrong with the accepted set after this release; null for nothing. */
  #faultOf({ digest }: LiveRelease): (FenceDecision & { accept: false }) | null {
    if (this.#accepted.digest !== digest)
      return refuse('digest_mismatch', `the changes make ${this.#accepted.digest}, the release says ${digest}`);
    if (this.#accepted.ofType(LISTENER_TYPE).size === 0) return refuse('no_listener', 'the set has no listener: it would serve nothing');
    return null;
  }

  #serve(change: ResourceChange, sameBootstrap: boolean): void {
    const refusedBefore = this.#refused.size;
    if (!sameBootstrap) this.#refused.clear();
    for (const key of [...change.upserts, ...change.removed]) {
      const refused = this.#refused.get(resourceId(key));
      if (refused !== undefined && this.#accepted.get(key)?.version !== refused.version) this.#refused.delete(resourceId(key));
    }
    const whole = this.#partial || !sameBootstrap;
    this.#partial = false;
    this.#failed = false;
    const next = whole
      ? difference(this.served, this.#asServed(this.#accepted))
      : { upserts: this.#asServed(change.upserts), removed: change.removed };
    for (const key of [...next.upserts, ...next.removed]) {
      const [id, present] = [resourceId(key), this.served.get(key)];
      if (present === undefined) continue;
      const before = this.#before.get(id) ?? [];
      if (before.length > MOST_BEFORE) before.splice(1, 1); // never the oldest, which was settled
      this.#before.set(id, [...before, present]);
    }
    this.served.apply(next);
    if (this.#refused.size !== refusedBefore) this.saveRefused();
  }

  /** Resources with what Envoy has refused replaced by what it has instead. */
  #asServed(resources: Iterable<XdsResource>): readonly XdsResource[] {
    const served: XdsResource[] = [];
    for (const resource of resources) {
      const refused = this.#refused.size === 0 ? undefined : this.#refused.get(resourceId(resource));
      if (refused === undefined || refused.version !== resource.version) served.push(resource);
      else if (refused.instead !== null) served.push(refused.instead);
    }
    return served;
  }
}

/** What takes a change back from a set that has not had it yet. */
function reverseOf(change: ResourceChange, set: ResourceSet): ResourceChange {
  const keys = [...change.upserts, ...change.removed];
  const upserts = keys.map((key) => set.get(key)).filter((resource) => resource !== undefined);
  return { upserts, removed: keys.filter((key) => set.get(key) === undefined).map(({ typeUrl, name }) => ({ typeUrl, name })) };
}

function difference(set: ResourceSet, wanted: Iterable<XdsResource>): ResourceChange {
  const upserts = [...wanted];
  const names = new Set(upserts.map(resourceId));
  return { upserts, removed: [...set].filter((resource) => !names.has(resourceId(resource))) };
}

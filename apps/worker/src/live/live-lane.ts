import type { Endpoint } from '#features/discovery/discovery.js';
import { type Aside, LiveTable } from '#features/layout/live-table.js';
import { endpointResource } from '#features/layout/upstream-resources.js';
import { eachInTurns, giveWay } from '#platform/kernel/turns.js';
import { writeItemHead } from '#platform/xds/live-release.js';
import { ResourceSet } from '#platform/xds/resource-set.js';
import { CLUSTER_TYPE, ENDPOINT_TYPE, type ResourceChange, type ResourceKey, type XdsResource } from '#platform/xds/xds-resource.js';

import type { FoldedMapping } from '../fold/gateway-fold.js';
import type { LaneSource } from '../fold/lane-source.js';
import { LaneSecrets, type NodeSecrets, noSecrets, type SecretSource } from '../secrets/lane-secrets.js';
import { laterChange } from './live-change.js';
import { type NodeBasis, nodeBasisOf } from './node-basis.js';

/** What a change of the configuration may have made served or not. */
export interface Touched {
  readonly mappings: Iterable<string> | 'all';
  /** By ServiceReference.key. */
  readonly services: Iterable<string>;
}

export interface LaneChange {
  readonly mappings: Iterable<string>;
  readonly services: Iterable<string>;
  readonly settings: boolean;
  /** Certificates, principals, or what is known of the secrets of either. */
  readonly secrets: boolean;
}

export interface LiveLaneOptions {
  readonly source: LaneSource;
  /** Why targets may be brought to a lower version than they have, where a recorded decision says so; '' otherwise. */
  lowerVersionReason(): string;
  /** What was found for a service, by ServiceReference.key. */
  endpointsOf(key: string): readonly Endpoint[];
  allowsLoopback(): boolean;
  readonly secrets: SecretSource;
  /** A mapping that is set aside as it stands now. */
  asideOf(name: string, mapping: FoldedMapping): Aside | undefined;
  /** The set, the version or what nodes have of their own has changed. Called in the moment in which it has. */
  onChange(): void;
  onError(error: unknown): void;
  /** Asked before anything new is in the set; what it does not let out waits. Undefined: everything may. */
  readonly guard?: { prepare(): Promise<void>; lets(touched: Touched): boolean } | undefined;
}

/** Shards that are made in one turn of the event loop: 5 ms. More are made in slices. */
const MOST_AT_ONCE = 100;
/** Mappings that the guard is asked about in one turn: 10 ms. */
const MOST_JUDGED_AT_ONCE = 5_000;
/** When moved routes may leave their old place although not every Envoy has said that it knows the new one. Milliseconds. */
const FINISH_AFTER_MS = 1_000;
const NO_CHANGE: ResourceChange = { upserts: [], removed: [] };
const DIGESTS_KEPT = 4_096;

/**
 * One configuration of a gateway that targets are brought to: the gateway at its head, or at a version that some of them stay at. It holds Envoy's
 * resources of that configuration and follows its source mapping by mapping: what changed is in the set when `apply` returns, unless it is so much
 * that it is made in slices; then further changes wait for those, and are taken together.
 */
export class LiveLane {
  readonly set = new ResourceSet();
  readonly #options: LiveLaneOptions;
  readonly #table: LiveTable;
  readonly #mappings = new Set<string>();
  readonly #services = new Set<string>();
  readonly #digests = new Map<string, number>();
  readonly #secrets: LaneSecrets;
  #settingsChanged = false;
  #secretsChanged = true;
  /** The oldest version that waits for a secret. */
  #waitsFor: number | undefined;
  #slicing: Promise<void> | undefined;
  #finishing: NodeJS.Timeout | undefined;
  /** What was made and is not let out. */
  #waiting: { readonly change: ResourceChange; readonly at: { version: number; seenAtMs: number } } | undefined;
  #built = false;
  #version = 0;
  #seenAtMs = 0;
  #basis: { key: string; value: NodeBasis } | undefined;
  #given: NodeSecrets | undefined;
  #closed = false;

  constructor(options: LiveLaneOptions) {
    this.#options = options;
    this.#table = new LiveTable({ settings: this.#tableSettings() });
    this.#secrets = new LaneSecrets(options.source, options.secrets);
  }

  /** Makes everything. To be called once, before anything else. */
  async build(): Promise<void> {
    const { source, asideOf } = this.#options;
    const at = { version: source.version, seenAtMs: source.seenAtMs };
    const mappings = source.mappings;
    const work = async () => {
      const states = [...mappings.values()].map(({ state }) => state);
      const change = await this.#table.buildInSlices(states, (name) => {
        const mapping = mappings.get(name);
        return mapping === undefined ? undefined : asideOf(name, mapping);
      });
      await this.#prepare(change);
      this.#built = true;
      this.#publish(change, at, { mappings: 'all', services: [] });
    };
    this.#slicing = work().finally(() => {
      this.#slicing = undefined;
    });
    await this.#slicing;
    this.#flush();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#finishing);
  }

  get source(): LaneSource {
    return this.#options.source;
  }

  get lowerVersionReason(): string {
    return this.#options.lowerVersionReason();
  }

  /** The version that the set holds; 0 until it was built. */
  get version(): number {
    return this.#version;
  }

  /** When that version was seen. */
  get seenAtMs(): number {
    return this.#seenAtMs;
  }

  get table(): LiveTable {
    return this.#table;
  }

  /** What the nodes' own resources are made of; the same object as long as it is the same. */
  get basis(): NodeBasis {
    if (this.#basis === undefined) throw new Error('the lane was not built');
    return this.#basis.value;
  }

  /** What the nodes have of certificates and their like, beside the set; the same object as long as it is the same. */
  get secrets(): NodeSecrets {
    return this.#given ?? noSecrets;
  }

  /** What they are to have with the next push. */
  get nextSecrets(): NodeSecrets {
    return this.#secrets.state;
  }

  /** The revision of the set at which it had this digest; undefined when that is too long ago, or never was. */
  revisionOf(digest: string): number | undefined {
    return this.#digests.get(digest);
  }

  /** These mappings, services, the settings or what is known of secrets are not what they were. */
  apply(change: LaneChange): void {
    for (const name of change.mappings) this.#mappings.add(name);
    for (const key of change.services) this.#services.add(key);
    this.#settingsChanged ||= change.settings;
    this.#secretsChanged ||= change.settings || change.secrets;
    this.#flush();
  }

  /** @param isSettled Envoys have had time to take what came before. */
  #flush(isSettled = false): void {
    if (this.#slicing !== undefined || this.#closed || !this.#built) return;
    const { source } = this.#options;
    const at = { version: source.version, seenAtMs: source.seenAtMs };
    if (this.#settingsChanged) this.#table.configure(this.#tableSettings());
    for (const name of this.#mappings) this.#put(name);
    const touched = { mappings: this.#settingsChanged ? ('all' as const) : [...this.#mappings], services: [...this.#services] };
    this.#settingsChanged = false;
    this.#mappings.clear();
    this.#services.clear();
    const isAll = touched.mappings === 'all' && source.mappings.size > MOST_JUDGED_AT_ONCE;
    if (this.#table.waiting <= MOST_AT_ONCE && !isAll) {
      this.#publish(this.#table.changes(isSettled), at, touched);
      return;
    }
    this.#slicing = this.#table
      .changesInSlices(isSettled)
      .then(async (change) => {
        await this.#prepare(change, touched);
        this.#publish(change, at, touched);
      })
      .catch((error: unknown) => this.#options.onError(error))
      .finally(() => {
        this.#slicing = undefined;
        this.#flush();
      });
  }

  /** Does what a large change needs before it is published, in turns with others. */
  async #prepare(change: ResourceChange, touched: Pick<Touched, 'mappings'> = { mappings: 'all' }): Promise<void> {
    await giveWay();
    await eachInTurns(change.upserts, writeItemHead);
    if (touched.mappings === 'all') await this.#options.guard?.prepare();
  }

  #put(name: string): void {
    const mapping = this.#options.source.mappings.get(name);
    if (mapping === undefined) this.#table.remove(name);
    else this.#table.put(mapping.state, this.#options.asideOf(name, mapping));
  }

  /** What is not let out may be by now. */
  recheck(): void {
    if (this.#waiting !== undefined) this.#publish(NO_CHANGE, this.#waiting.at, { mappings: [], services: [] });
  }

  #publish(
    made: ResourceChange,
    at: { version: number; seenAtMs: number },
    touched: { readonly mappings: readonly string[] | 'all'; readonly services: readonly string[] },
  ): void {
    if (this.#closed) return;
    if (this.#secretsChanged) this.#waitsFor = this.#secrets.settle();
    this.#secretsChanged = false;
    const next = this.#withEndpoints(made, touched.services);
    const change = this.#waiting === undefined ? next : laterChange(this.#waiting.change, next);
    this.#waiting = { change, at };
    // Nodes have listeners with certificates: nothing is sent before it is known what they are to have.
    if (this.#waitsFor !== undefined && this.#version === 0) return;
    if (this.#options.guard?.lets(touched) === false) return;
    this.#waiting = undefined;
    const [revision, version, basis, given] = [this.set.revision, this.#version, this.#basis, this.#given];
    this.set.apply(change);
    this.#given = this.#secrets.state;
    this.#version = Math.max(version, Math.min(at.version, (this.#waitsFor ?? Number.POSITIVE_INFINITY) - 1));
    this.#seenAtMs = at.seenAtMs;
    this.#setBasis();
    if (this.set.revision !== revision || revision === 0) this.#remember();
    if (this.#table.unfinished) this.#finishLater();
    const isOther = this.#version !== version || this.#basis !== basis || this.#given !== given;
    if (isOther || this.set.revision !== revision) this.#options.onChange();
  }

  /** Each cluster of the change with its endpoints, and the endpoints of the services that moved. */
  #withEndpoints(change: ResourceChange, services: readonly string[]): ResourceChange {
    const endpoints = new Map<string, XdsResource>();
    for (const { typeUrl, name } of change.upserts) {
      const service = typeUrl === CLUSTER_TYPE ? this.#table.upstreams.get(name) : undefined;
      if (service !== undefined) endpoints.set(name, this.#endpoints(name, service.key));
    }
    for (const key of services) for (const name of this.#table.clustersOf(key)) endpoints.set(name, this.#endpoints(name, key));
    const gone = change.removed.filter(({ typeUrl }) => typeUrl === CLUSTER_TYPE);
    const removed: ResourceKey[] = gone.map(({ name }) => ({ typeUrl: ENDPOINT_TYPE, name }));
    return { upserts: [...change.upserts, ...endpoints.values()], removed: [...change.removed, ...removed] };
  }

  #endpoints(cluster: string, key: string): XdsResource {
    return endpointResource(cluster, this.#options.endpointsOf(key), { allowLoopbackUpstreams: this.#options.allowsLoopback() });
  }

  #setBasis(): void {
    const value = nodeBasisOf(this.#options.source, this.#secrets.state, this.#table.phases);
    const key = JSON.stringify(value);
    if (key !== this.#basis?.key) this.#basis = { key, value };
  }

  #remember(): void {
    this.#digests.set(this.set.digest, this.set.revision);
    if (this.#digests.size > DIGESTS_KEPT) this.#digests.delete(this.#digests.keys().next().value ?? '');
  }

  #finishLater(): void {
    clearTimeout(this.#finishing);
    this.#finishing = setTimeout(() => this.#flush(true), FINISH_AFTER_MS);
  }

  #tableSettings() {
    const { perRouteStats } = this.#options.source.settings;
    return { perRouteStats, allowLoopbackUpstreams: this.#options.allowsLoopback() };
  }
}

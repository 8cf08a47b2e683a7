import type { GatewaySettings } from '#features/gateway/gateway.js';
import type { MappingState } from '#features/mapping/mapping-state.js';
import type { ServiceReference } from '#features/mapping/service-reference.js';
import type { ResourceChange } from '#platform/xds/xds-resource.js';

import type { Phase } from './phase.js';
import type { ShardPlan } from './shard-plan.js';

/** The settings that routes depend on. */
export type TableSettings = Pick<GatewaySettings, 'allowLoopbackUpstreams' | 'perRouteStats'>;

/** Why a mapping is answered 503, or (`drop`) not at all. */
export interface Aside {
  readonly code: string;
  readonly drop: boolean;
}

/**
 * The route table of a gateway as Envoy's resources, kept up to date mapping by mapping: scopes with their routes (shards), the clusters that they
 * name, and the trust of https upstreams. Endpoints are not among them, since they come from discovery: whoever applies a change adds one
 * `endpointResource` for each cluster in it, and removes those of the clusters that it removes.
 *
 * Equal mappings under an equal plan give equal bytes, whatever happened before.
 */
export class LiveTable {
  constructor(_options: { readonly settings: TableSettings; readonly plan?: ShardPlan | undefined }) {}

  /** Adds a mapping or replaces the one of this name. Cheap: only says which shards must be made again. */
  put(_mapping: MappingState, _aside?: Aside): void {
    throw new Error('not yet');
  }

  /** Takes a mapping out; nothing happens when there is none of this name. */
  remove(_name: string): void {
    throw new Error('not yet');
  }

  /** The settings changed: the mappings are looked at again under the new ones. */
  configure(_settings: TableSettings): void {
    throw new Error('not yet');
  }

  /** How many shards `changes` would make now: above about 100 (5 ms) rather `changesInSlices`. */
  get waiting(): number {
    throw new Error('not yet');
  }

  /**
   * Does the table wait for Envoys to have the last change, before the rest of it may follow? Routes that moved to a phase which is new must
   * stand in their old place as well until the filter knows the new one. Call `changes` again when the last change has settled, or a second later.
   */
  get unfinished(): boolean {
    throw new Error('not yet');
  }

  /** What the puts and removes since the last call changed. Synchronous; nothing changed gives empty lists. */
  changes(): ResourceChange {
    throw new Error('not yet');
  }

  /** The same, yielding to the event loop every 10 ms. Until it has resolved the table takes no put, remove, configure or changes (it throws). */
  changesInSlices(): Promise<ResourceChange> {
    throw new Error('not yet');
  }

  /** Puts all of these and makes the whole table, yielding to the event loop every 10 ms; as `changesInSlices`. */
  buildInSlices(_mappings: Iterable<MappingState>, _asideOf: (name: string) => Aside | undefined): Promise<ResourceChange> {
    throw new Error('not yet');
  }

  /** Mappings that make no sense to Envoy. They harm nobody else. */
  get refused(): ReadonlyMap<string, { readonly code: string; readonly detail: string }> {
    throw new Error('not yet');
  }

  /** The distinct upstreams of routes that forward, by cluster name. */
  get upstreams(): ReadonlyMap<string, ServiceReference> {
    throw new Error('not yet');
  }

  /** In the order in which the filter asks them. As of the last change; when it is another list, the nodes' overlays must be made again. */
  get phases(): readonly Phase[] {
    throw new Error('not yet');
  }

  /** What was decided about shards: given to the next table, the same scopes come out of the same mappings. JSON. */
  get plan(): ShardPlan {
    throw new Error('not yet');
  }

  /** The cluster that a mapping forwards to; undefined for one that is set aside, refused or not there. */
  clusterOf(_name: string): string | undefined {
    throw new Error('not yet');
  }

  /** Under which prefix Envoy counts a mapping's requests; undefined while statistics per mapping are off. */
  statPrefixOf(_name: string): string | undefined {
    throw new Error('not yet');
  }

  /** The mappings whose routes stand in a scope; empty for an unknown one. */
  mappingsOf(_scope: string): readonly string[] {
    throw new Error('not yet');
  }

  /** The scopes in which a mapping's routes stand; empty when it has none. */
  scopesOf(_name: string): readonly string[] {
    throw new Error('not yet');
  }
}

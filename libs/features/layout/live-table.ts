import type { GatewaySettings } from '#features/gateway/gateway.js';
import { planMapping } from '#features/mapping/mapping.envoy.js';
import type { MappingState } from '#features/mapping/mapping-state.js';
import type { Upstream } from '#features/mapping/upstream-tls.js';
import { statToken } from '#platform/envoy/model/envoy-text.js';
import { eachInTurns } from '#platform/kernel/turns.js';
import { writeItemHead } from '#platform/xds/live-release.js';
import { type ResourceChange, type ResourceKey, SCOPED_ROUTE_TYPE, type XdsResource } from '#platform/xds/xds-resource.js';

import { type ClassId, classOf, HostClass } from './host-class.js';
import type { Phase } from './phase.js';
import { type Entry, renderShard, type Shard } from './shard.js';
import { countsRequests, ordinarySizing, type ShardPlan, type ShardSizing } from './shard-plan.js';
import { UpstreamUse } from './upstream-use.js';

/** The settings that routes depend on. */
export type TableSettings = Pick<GatewaySettings, 'allowLoopbackUpstreams' | 'perRouteStats'>;

/** Why a mapping is answered 503, or (`drop`) not at all. */
export interface Aside {
  readonly code: string;
  readonly drop: boolean;
}

/** The classes of hosts in the order in which requests fall through them. */
const classes: readonly ClassId[] = ['e', 'w', 'a'];

/**
 * The route table of a gateway as Envoy's resources, kept up to date mapping by mapping: scopes with their routes (shards), the clusters that they
 * name, and the trust of https upstreams. Endpoints are not among them, since they come from discovery: whoever applies a change adds one
 * `endpointResource` for each cluster in it, and removes those of the clusters that it removes.
 *
 * Equal mappings under an equal plan give equal bytes, whatever happened before.
 */
export class LiveTable {
  #settings: TableSettings;
  #stats: boolean | undefined;
  readonly #entries = new Map<string, Entry>();
  readonly #refused = new Map<string, { readonly code: string; readonly detail: string }>();
  readonly #classes: Readonly<Record<ClassId, HostClass>>;
  readonly #upstreams = new UpstreamUse();
  readonly #dirty = new Set<Shard>();
  /** The shards in force, by their keys, as of the last change. */
  #inForce: ReadonlyMap<string, Shard> = new Map();
  #phases: readonly Phase[] = [];
  #isInSlices = false;

  constructor(options: { readonly settings: TableSettings; readonly plan?: ShardPlan | undefined; readonly sizing?: ShardSizing }) {
    const { settings, plan, sizing = ordinarySizing } = options;
    this.#settings = settings;
    this.#stats = plan?.stats;
    this.#classes = {
      e: new HostClass('e', plan, sizing),
      w: new HostClass('w', plan, sizing),
      a: new HostClass('a', plan, sizing),
    };
  }

  /** Adds a mapping or replaces the one of this name. Cheap: only says which shards must be made again. */
  put(mapping: MappingState, aside?: Aside): void {
    this.#mayChange();
    this.#take(mapping.name);
    const plan = planMapping(mapping, aside, this.#settings.allowLoopbackUpstreams);
    if (plan.refusal !== undefined) this.#refused.set(mapping.name, { code: plan.refusal.code, detail: plan.refusal.detail });
    const entry: Entry = { mapping, aside, outcome: this.#upstreams.take(plan), shard: null };
    this.#entries.set(mapping.name, entry);
    if (entry.outcome.kind === 'dropped') return;
    const shard = this.#classes[classOf(mapping.host)].add(entry);
    // Before anything was given out all shards are to be made, and those of now may be divided until then.
    if (this.#phases.length > 0) this.#dirty.add(shard);
  }

  /** Takes a mapping out; nothing happens when there is none of this name. */
  remove(name: string): void {
    this.#mayChange();
    this.#take(name);
  }

  /** The settings changed: the mappings are looked at again under the new ones. */
  configure(settings: TableSettings): void {
    this.#mayChange();
    const isOther = settings.allowLoopbackUpstreams !== this.#settings.allowLoopbackUpstreams;
    this.#settings = settings;
    if (isOther) for (const { mapping, aside } of [...this.#entries.values()]) this.put(mapping, aside);
  }

  /** About how many shards `changes` would make now: above 50 (10 ms) rather `changesInSlices`. */
  get waiting(): number {
    const isAll =
      this.#phases.length === 0 ||
      classes.some((id) => this.#classes[id].hasOutgrown(false)) ||
      countsRequests(this.#settings.perRouteStats, this.#entries.size, this.#stats) !== this.#stats;
    return this.#dirty.size + (isAll ? Math.ceil(this.#entries.size / ordinarySizing.rowsToAimAt) : 0);
  }

  /**
   * Does the table wait for Envoys to have the last change, before the rest of it may follow? Routes that moved to a phase which is new must
   * stand in their old place as well until the filter knows the new one. Call `changes` again when the last change has settled, or a second later.
   */
  get unfinished(): boolean {
    return this.#isUnfinished;
  }
  #isUnfinished = false;
  #hasEmptied = false;
  /** Are there shards that no filter may know yet? */
  #isKeeping = false;

  /**
   * What the puts and removes since the last call changed. Synchronous; nothing changed gives empty lists.
   * @param isSettled whether Envoys may be taken to have the change before; while they have not, moved routes stay in their old place as well.
   */
  changes(isSettled = true): ResourceChange {
    this.#mayChange();
    const { render, removed } = this.#settle(isSettled);
    const made = render.map((shard) => this.#render(shard));
    return this.#change(made, removed);
  }

  /** The same, letting others have their turn. Until it has resolved the table takes no put, remove, configure or changes (it throws). */
  async changesInSlices(isSettled = true): Promise<ResourceChange> {
    this.#mayChange();
    this.#isInSlices = true;
    try {
      const { render, removed } = this.#settle(isSettled);
      const made: (XdsResource | undefined)[] = [];
      await eachInTurns(render, (shard) => made.push(this.#render(shard)));
      return this.#change(made, removed);
    } finally {
      this.#isInSlices = false;
    }
  }

  /** Puts all of these and makes the whole table, letting others have their turn; as `changesInSlices`. */
  async buildInSlices(mappings: Iterable<MappingState>, asideOf: (name: string) => Aside | undefined): Promise<ResourceChange> {
    const all = [...mappings];
    if (this.#entries.size === 0) for (const id of classes) this.#classes[id].expect(all.filter(({ host }) => classOf(host) === id));
    await eachInTurns(all, (mapping) => this.put(mapping, asideOf(mapping.name)));
    return this.changesInSlices();
  }

  /** Mappings that make no sense to Envoy. They harm nobody else. */
  get refused(): ReadonlyMap<string, { readonly code: string; readonly detail: string }> {
    return this.#refused;
  }

  /** The clusters that lead to a service, by ServiceReference.key. */
  clustersOf = (key: string): Iterable<string> => this.#upstreams.clustersOf(key);

  /** The distinct upstreams of routes that forward, by cluster name. */
  get upstreams(): ReadonlyMap<string, Upstream> {
    return this.#upstreams.services;
  }

  /** In the order in which the filter asks them. As of the last change; when it is another list, the nodes' overlays must be made again. */
  get phases(): readonly Phase[] {
    return this.#phases;
  }

  /** What was decided about shards: given to the next table, the same scopes come out of the same mappings. JSON. */
  get plan(): ShardPlan {
    const plans = classes.map((id) => [id, this.#classes[id].plan] as const);
    return {
      shards: Object.assign({}, ...plans.map(([, { shards }]) => shards)),
      middle: Object.fromEntries(plans.map(([id, { middle }]) => [id, middle])),
      stats: this.#stats ?? false,
    };
  }

  /** The cluster that a mapping forwards to; undefined for one that is set aside, refused or not there. */
  clusterOf(name: string): string | undefined {
    const outcome = this.#entries.get(name)?.outcome;
    return outcome?.kind === 'forwarded' ? outcome.cluster : undefined;
  }

  /** Under which prefix Envoy counts a mapping's requests; undefined while statistics per mapping are off. */
  statPrefixOf(name: string): string | undefined {
    const entry = this.#entries.get(name);
    return entry === undefined || entry.outcome.kind === 'dropped' || this.#stats !== true ? undefined : statToken(name);
  }

  /** The mappings whose routes stand in a scope; empty for an unknown one. */
  mappingsOf(scope: string): readonly string[] {
    const shard = this.#inForce.get(scope);
    return shard === undefined ? [] : shard.given.map(({ mapping }) => mapping.name);
  }

  /** The scopes in which a mapping's routes stand; empty when it has none. */
  scopesOf(name: string): readonly string[] {
    const entry = this.#entries.get(name);
    if (entry === undefined || entry.shard === null) return [];
    const copies = this.#classes[classOf(entry.mapping.host)].copiesOf(entry);
    return [entry.shard, ...copies].map(({ key }) => key);
  }

  #mayChange(): void {
    if (this.#isInSlices) throw new Error('The table is being made in slices; wait for it.');
  }

  #take(name: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    this.#entries.delete(name);
    this.#refused.delete(name);
    this.#upstreams.release(entry.outcome);
    if (entry.shard === null) return;
    this.#dirty.add(entry.shard);
    this.#classes[classOf(entry.mapping.host)].delete(entry);
  }

  /** Which shards are to be made, and which are no more. */
  #settle(isSettled: boolean): { readonly render: readonly Shard[]; readonly removed: readonly ResourceKey[] } {
    if (isSettled) this.#isKeeping = false;
    const isHeld = this.#restructure();
    const stats = countsRequests(this.#settings.perRouteStats, this.#entries.size, this.#stats);
    const isRecounted = stats !== this.#stats;
    this.#stats = stats;
    const removed = this.#enforce();
    if (isRecounted) for (const shard of this.#inForce.values()) this.#dirty.add(shard);
    const render = [...this.#dirty].filter((shard) => this.#inForce.get(shard.key) === shard);
    this.#dirty.clear();
    this.#isUnfinished = isHeld || this.#hasEmptied;
    return { render, removed };
  }

  /**
   * Lets rows find their phases, and shards their size. What only moves rows to other shards waits for a call in which nothing else has changed,
   * because only then every answer on the way is one of the table's; unless shards would become much too large meanwhile, as in an import.
   * @returns whether something waits.
   */
  #restructure(): boolean {
    const entries = () => this.#entries.values();
    const all = classes.map((id) => this.#classes[id]);
    for (const each of all) each.settle(entries, this.#dirty);
    const isNew = this.#phases.length === 0;
    const isUrgent = isNew || all.some((each) => each.hasOutgrown(true));
    if (!isUrgent && this.#dirty.size > 0) return all.some((each) => each.hasOutgrown(false));
    const isOther = all.filter((each) => each.chooseMiddle(entries, this.#dirty)).length > 0;
    if (!isOther || isUrgent) for (const each of all) each.resize();
    return all.some((each) => each.hasOutgrown(false));
  }

  /** Brings the shards in force up to the phases; most often these are as they were. */
  #enforce(): ResourceKey[] {
    // A phase that has lost its last rows is asked until the filter is another one: it is made empty first, and left out the next time.
    const phases = classes.flatMap((id) => this.#classes[id].phases(this.#dirty.size > 0));
    this.#hasEmptied = phases.some(({ isInForce }) => !isInForce);
    const spaces = (list: readonly Phase[]) => list.map(({ id, shards }) => `${id}.${shards}`);
    const [before, now] = [spaces(this.#phases), spaces(phases.map(({ phase }) => phase))];
    this.#isKeeping ||= before.length > 0 && now.some((space) => !before.includes(space));
    if (before.join() === now.join()) return [];
    this.#phases = phases.map(({ phase }) => phase);
    const inForce = new Map(phases.flatMap(({ shards }) => shards.map((shard) => [shard.key, shard])));
    for (const shard of inForce.values()) if (shard.resource === undefined) this.#dirty.add(shard);
    const removed = [...this.#inForce.values()].filter(({ key }) => !inForce.has(key));
    for (const shard of removed) {
      shard.resource = undefined;
      shard.given = [];
    }
    this.#inForce = inForce;
    return removed.map(({ key }) => ({ typeUrl: SCOPED_ROUTE_TYPE, name: key }));
  }

  /** @returns undefined when it came out as it was. */
  #render(shard: Shard): XdsResource | undefined {
    const rows = [...this.#rowsOf(shard)];
    if (this.#isKeeping && this.#keepLeft(shard, rows)) {
      this.#isUnfinished = true;
      this.#dirty.add(shard);
    }
    const made = renderShard(shard, rows, this.#stats === true);
    shard.given = rows;
    if (made.version === shard.resource?.version) return undefined;
    shard.resource = made;
    writeItemHead(made); // here, in slices, and not of thousands when the first agent asks
    return made;
  }

  /** Adds the rows that have left the shard since it was given out: what moved to a shard that no filter knows yet is found here until then. */
  #keepLeft(shard: Shard, rows: Entry[]): boolean {
    const names = new Set(rows.map(({ mapping }) => mapping.name));
    // What is removed, or has no route any more, goes at once.
    const isElsewhere = (name: string) => (this.#entries.get(name)?.shard ?? null) !== null;
    const left = shard.given.filter(({ mapping: { name } }) => !names.has(name) && isElsewhere(name));
    rows.push(...left);
    return left.length > 0;
  }

  #rowsOf(shard: Shard): Iterable<Entry> {
    return this.#classes[shard.key.charAt(0) as ClassId].rowsOf(shard);
  }

  #change(made: readonly (XdsResource | undefined)[], removed: readonly ResourceKey[]): ResourceChange {
    const upstreams = this.#upstreams.changes(this.#isUnfinished);
    return {
      upserts: [...upstreams.upserts, ...made.filter((resource) => resource !== undefined)],
      removed: [...removed, ...upstreams.removed],
    };
  }
}

import type { SequencerTiming } from './envoy-session.js';
import { type Flight, type Pending, waitingSince } from './flight.js';
import { LeanMap } from './lean-map.js';
import { ListenerTurns } from './listener-turns.js';
import { collectNeeded, type Needed } from './needed-meanwhile.js';
import type { ResourceSet } from './resource-set.js';
import type { TypeProgress } from './type-progress.js';
import {
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  EXTENSION_TYPE,
  LISTENER_TYPE,
  SCOPED_ROUTE_TYPE,
  SECRET_TYPE,
  type XdsResource,
} from './xds-resource.js';

/** In the order in which they are written when several can go. */
export const ORDER = [SECRET_TYPE, CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE, EXTENSION_TYPE] as const;
export type EnvoyType = (typeof ORDER)[number];

/** Whether what something needs is there. `known`: Envoy has all that is missing, but does not serve it yet. */
export type Readiness =
  | { readonly kind: 'ready' }
  | { readonly kind: 'waiting' }
  | { readonly kind: 'stuck'; readonly waitsFor: readonly string[]; readonly known: boolean };

const READY: Readiness = { kind: 'ready' };
const WAITING: Readiness = { kind: 'waiting' };

/**
 * What may go to Envoy now. Everything is decided from what Envoy has acknowledged, so it holds whatever order the changes came in:
 *
 * - Routes go when each cluster that they name is acknowledged, which for Envoy means warm. One that does not warm withholds the acknowledgement of all;
 *   after a deadline each is judged by itself, and only what needs the one that is stuck is held back.
 * - A scope that Envoy does not have at all goes at the deadline although a cluster is stuck: without it all of its routes answer 404, with it one 503.
 * - The filter that chooses scopes goes when all scopes are there, and scopes that are gone are removed when the filter that chose them is.
 * - A cluster that is gone is removed when nothing that Envoy has needs it, and then a grace later.
 * - A listener that changes often waits for its turn, and the filter behind it for the listener.
 */
export class MakeBeforeBreak {
  readonly listenerTurns: ListenerTurns;
  /** By cluster: since when nothing needs it any more. */
  readonly #unused = new LeanMap<string, number>();
  #warming: { readonly sequence: number; readonly names: ReadonlySet<string> | undefined } | undefined;
  #now = 0;
  #neededMeanwhile: Needed | undefined;
  #firstScopesWait: boolean | undefined;

  constructor(
    readonly types: Readonly<Record<EnvoyType, TypeProgress>>,
    readonly sets: readonly ResourceSet[],
    readonly timing: SequencerTiming,
    /** There is somebody to ask which clusters are warming. */
    readonly asks: boolean,
  ) {
    this.listenerTurns = new ListenerTurns(timing.listenerIntervalMs);
  }

  /** Begins a round at this time: what was concluded from the state of before is forgotten. */
  begin(now: number): void {
    this.#now = now;
    this.#neededMeanwhile = undefined;
    this.#firstScopesWait = undefined;
  }

  /** Which clusters Envoy was warming when it had got all responses up to this one; undefined when it could not be asked. */
  learnWarming(sequence: number, names: ReadonlySet<string> | undefined): void {
    this.#warming = { sequence, names };
  }

  /** True when nothing of the type may go, whatever it is: then nobody need ask for each name. */
  holds(progress: TypeProgress): boolean {
    return progress.typeUrl === SCOPED_ROUTE_TYPE && !progress.begun && progress.pending.size > 0 && this.#mustFirstScopesWait(progress);
  }

  may(progress: TypeProgress, name: string, pending: Pending): boolean {
    const wanted = progress.wanted(name);
    switch (progress.typeUrl) {
      case CLUSTER_TYPE:
        return wanted !== undefined || this.#mayRemoveCluster(name);
      case LISTENER_TYPE:
        return wanted === undefined || (this.listenerTurns.may(this.#now) && this.#mayAdd(progress, wanted, pending));
      case SCOPED_ROUTE_TYPE:
        return wanted === undefined ? this.#mayRemoveScope(pending) : this.#mayAddScope(progress, wanted, pending);
      case EXTENSION_TYPE:
        return wanted === undefined || (this.nextListenerAt === undefined && this.filter(name, pending).kind === 'ready');
      default:
        return true;
    }
  }

  /** The clusters that a resource needs. */
  needs(wanted: XdsResource, pending: Pending): Readiness {
    let waitsFor: string[] | undefined;
    let known = true;
    for (const name of wanted.needs) {
      const state = this.#cluster(name, pending);
      if (state === 'waiting') return WAITING;
      if (state === 'ready') continue;
      waitsFor ??= [];
      waitsFor.push(name);
      known &&= this.#isKnown(name);
    }
    return waitsFor === undefined ? READY : { kind: 'stuck', waitsFor, known };
  }

  /** The scopes that a filter may choose. */
  filter(name: string, pending: Pending): Readiness {
    const scopes = this.types[SCOPED_ROUTE_TYPE];
    const wanted = this.wantedNames(SCOPED_ROUTE_TYPE);
    if (wanted.length === 0) return READY;
    const has = this.types[EXTENSION_TYPE].held.has(name);
    if (!scopes.subscribed) return !has && this.#isLate(pending) ? READY : WAITING;
    const missing: string[] = [];
    for (const scope of wanted) {
      const flight = scopes.flight?.pending.get(scope);
      if (flight !== undefined && flight.since <= pending.since) return WAITING;
      const open = scopes.pending.get(scope) ?? scopes.suspects.find((group) => group.has(scope))?.get(scope);
      const there = scopes.held.has(scope);
      const resource = scopes.wanted(scope);
      if (open !== undefined && resource !== undefined && (!there || open.since <= pending.since)) {
        if (this.needs(resource, open).kind !== 'stuck') return WAITING;
      } else if (flight !== undefined && !there) return WAITING;
      if (!there) missing.push(scope);
    }
    // The first filter goes without scopes that were refused or cannot come: no listener opens without a filter.
    return missing.length === 0 || !has ? READY : { kind: 'stuck', waitsFor: missing, known: false };
  }

  /** True when a filter is wanted that Envoy will not have for now, so that scopes which are gone stay. */
  get filterHalted(): boolean {
    const filters = this.types[EXTENSION_TYPE];
    if (filters.rejections.size > 0 && [...filters.names.keys()].some((name) => filters.rejections.has(name))) return true;
    return !filters.isQuiet && [...filters.unsent()].some(([name, pending]) => this.filter(name, pending).kind === 'stuck');
  }

  /** True when Envoy has not answered all clusters that it was sent. */
  get awaitsClusters(): boolean {
    const { flight, overdue } = this.types[CLUSTER_TYPE];
    return flight !== undefined || overdue.length > 0;
  }

  /** Clusters whose acknowledgement is overdue and that are not known to be warm, with the time of their response. */
  *clustersNotWarm(): Generator<readonly [string, Flight]> {
    const clusters = this.types[CLUSTER_TYPE];
    const last = clusters.flight !== undefined && this.isOverdue(clusters.flight) ? [clusters.flight] : [];
    for (const flight of [...clusters.overdue, ...last]) {
      for (const name of flight.upserts.keys()) {
        if (clusters.flightOf(name) === flight && !this.#isProvedWarm(name, flight)) yield [name, flight];
      }
    }
  }

  /** A response that should have been answered by now. */
  isOverdue(flight: Flight): boolean {
    return this.#now - flight.at >= this.timing.warmDeadlineMs;
  }

  /** The name is wanted (again), or gone for good: its grace is over. */
  forgetGrace(cluster: string): void {
    this.#unused.delete(cluster);
  }

  /** When the next removal is due that waits for its grace. */
  get nextRemovalAt(): number | undefined {
    let at: number | undefined;
    for (const unused of this.#unused.values()) at = Math.min(at ?? Number.POSITIVE_INFINITY, unused + this.timing.removalGraceMs);
    return at;
  }

  /** When a listener goes that waits for its turn; undefined when none does. */
  get nextListenerAt(): number | undefined {
    return this.types[LISTENER_TYPE].isQuiet ? undefined : this.listenerTurns.nextAt(this.#now);
  }

  isWanted(typeUrl: EnvoyType): boolean {
    return this.sets.some((set) => set.ofType(typeUrl).size > 0);
  }

  /** True when Envoy has asked for something of this type that is wanted. */
  isAskedFor(typeUrl: EnvoyType): boolean {
    const progress = this.types[typeUrl];
    for (const set of this.sets) for (const name of set.ofType(typeUrl).keys()) if (progress.covers(name)) return true;
    return false;
  }

  wantedNames(typeUrl: string): string[] {
    const names: string[] = [];
    for (const set of this.sets) for (const name of set.ofType(typeUrl).keys()) names.push(name);
    return names;
  }

  #mayAdd(progress: TypeProgress, wanted: XdsResource, pending: Pending): boolean {
    const readiness = this.needs(wanted, pending);
    if (readiness.kind === 'stuck') return readiness.known && !progress.held.has(wanted.name);
    return readiness.kind === 'ready';
  }

  #mayAddScope(progress: TypeProgress, wanted: XdsResource, pending: Pending): boolean {
    // Envoy opens its listener on the first response: it must not lack a scope that comes a moment later.
    if (!progress.begun && this.#mustFirstScopesWait(progress)) return false;
    return this.#mayAdd(progress, wanted, pending);
  }

  #mustFirstScopesWait(progress: TypeProgress): boolean {
    this.#firstScopesWait ??= [...progress.pending].some(([name, pending]) => {
      const wanted = progress.wanted(name);
      return wanted !== undefined && this.needs(wanted, pending).kind === 'waiting';
    });
    return this.#firstScopesWait;
  }

  #cluster(name: string, pending: Pending): 'ready' | 'waiting' | 'stuck' {
    const clusters = this.types[CLUSTER_TYPE];
    const there = clusters.held.has(name) && !this.#wasRemoved(name);
    const flight = clusters.flightOf(name);
    if (flight !== undefined) {
      if (flight.removed.has(name) || (flight === clusters.flight && !this.isOverdue(flight))) return 'waiting';
      if (there || this.#isProvedWarm(name, flight)) return 'ready'; // the definition that it replaces serves until it is warm
      return this.#now - waitingSince(name, flight) >= this.timing.warmDeadlineMs ? 'stuck' : 'waiting';
    }
    const open = clusters.pending.get(name) ?? clusters.suspects.find((group) => group.has(name))?.get(name);
    if (open !== undefined && clusters.wanted(name) !== undefined) {
      if (!this.#isLate(open)) return 'waiting';
      return there ? 'ready' : 'stuck';
    }
    // One that Envoy brings from an earlier stream may still be warming there: then it asks for endpoints that it has not got.
    if (there && !this.#lacksEndpoints(name)) return 'ready';
    return (clusters.subscribed && !there) || this.#isLate(pending) ? 'stuck' : 'waiting';
  }

  /**
   * Its endpoints are acknowledged, which says that Envoy took the cluster, and Envoy does not say that it is still warming. A cluster without endpoints of
   * its own cannot be told from one that was refused: only the acknowledgement proves it.
   */
  #isProvedWarm(name: string, flight: Flight): boolean {
    if (!flight.warmed.has(name)) return false;
    if (!this.asks) return true;
    if (this.#warming === undefined || this.#warming.sequence < flight.sequence) return false;
    return this.#warming.names?.has(name) !== true;
  }

  #lacksEndpoints(name: string): boolean {
    const endpoints = this.types[ENDPOINT_TYPE];
    return endpoints.names.has(name) && (!endpoints.held.has(name) || endpoints.owes(name));
  }

  /** Envoy takes routes to a cluster that it is warming, and refuses those to one that it does not know. */
  #isKnown(name: string): boolean {
    const flight = this.types[CLUSTER_TYPE].flightOf(name);
    if (flight === undefined) return this.types[CLUSTER_TYPE].held.has(name);
    if (!flight.upserts.has(name)) return false;
    if (this.types[ENDPOINT_TYPE].names.has(name) && !this.#wasRemoved(name)) return true;
    return this.#warming?.names?.has(name) === true && this.#warming.sequence >= flight.sequence;
  }

  /**
   * Removed and sent anew, and neither is acknowledged, as nothing is while a cluster warms: it replaces nothing, and the endpoints that Envoy asked for may
   * be those of the one before.
   */
  #wasRemoved(name: string): boolean {
    return this.types[CLUSTER_TYPE].overdue.some(({ removed }) => removed.has(name));
  }

  #mayRemoveScope(pending: Pending): boolean {
    const filters = this.types[EXTENSION_TYPE];
    if (!this.isWanted(EXTENSION_TYPE)) return true;
    // Envoy says which filter it has when it asks for it. One that comes back with scopes may have one that chooses this scope.
    if (!filters.subscribed) return !this.types[SCOPED_ROUTE_TYPE].brought && this.#isLate(pending);
    if (filters.pending.size > 0 || filters.suspects.length > 0 || filters.flight !== undefined) return false;
    return ![...filters.names.keys()].some((name) => filters.rejections.has(name));
  }

  #mayRemoveCluster(name: string): boolean {
    if (this.#isInUse(name)) {
      this.#unused.delete(name);
      return false;
    }
    const since = this.#unused.get(name) ?? this.#now;
    this.#unused.set(name, since);
    return this.#now - since >= this.timing.removalGraceMs;
  }

  #isInUse(name: string): boolean {
    if (this.sets.some((set) => set.needs(name))) return true;
    const { [SCOPED_ROUTE_TYPE]: scopes, [LISTENER_TYPE]: listeners, [CLUSTER_TYPE]: clusters } = this.types;
    this.#neededMeanwhile ??= collectNeeded([scopes, listeners], clusters.brought);
    return this.#neededMeanwhile.any || this.#neededMeanwhile.clusters.has(name);
  }

  #isLate(pending: Pending): boolean {
    return this.#now - pending.at >= this.timing.warmDeadlineMs;
  }
}

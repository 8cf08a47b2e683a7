import type { HeldBack, Rejection } from './envoy-session.js';
import { waitingSince } from './flight.js';
import { type MakeBeforeBreak, ORDER } from './make-before-break.js';
import type { TypeProgress } from './type-progress.js';
import { CLUSTER_TYPE, EXTENSION_TYPE, LISTENER_TYPE, type ResourceKey, resourceId, SCOPED_ROUTE_TYPE } from './xds-resource.js';

/** What happened since the last look. */
export interface Effects {
  readonly acked: readonly ResourceKey[];
  readonly rejected: readonly Rejection[];
  /** All that is held back, when that changed. */
  readonly heldBack: readonly HeldBack[] | undefined;
  /** When it grew. */
  readonly settled: number | undefined;
}

/** Envoy must have asked for these before it can have what is wanted. */
const ROOTS = [CLUSTER_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE, EXTENSION_TYPE] as const;

/** What may have to wait for clusters. */
export const WAITING_TYPES = [LISTENER_TYPE, SCOPED_ROUTE_TYPE, EXTENSION_TYPE] as const;
export const NOTHING: ReadonlyMap<string, HeldBack> = new Map();

/** What Envoy must not have yet, past the deadline, and the clusters that are the reason. */
export function heldBackNow(rules: MakeBeforeBreak, now: number): ReadonlyMap<string, HeldBack> {
  if (!rules.awaitsClusters && WAITING_TYPES.every((typeUrl) => rules.types[typeUrl].isQuiet)) return NOTHING;
  const held = new Map<string, HeldBack>();
  const hold = (one: HeldBack) => held.set(resourceId(one.key), one);
  for (const typeUrl of WAITING_TYPES) {
    const progress = rules.types[typeUrl];
    for (const [name, pending] of progress.unsent()) {
      const wanted = progress.wanted(name);
      if (wanted === undefined) continue;
      const readiness = typeUrl === EXTENSION_TYPE ? rules.filter(name, pending) : rules.needs(wanted, pending);
      if (readiness.kind === 'stuck') hold({ key: { typeUrl, name }, version: wanted.version, waitsFor: readiness.waitsFor });
    }
  }
  for (const [name, flight] of rules.clustersNotWarm()) {
    if (now - waitingSince(name, flight) < rules.timing.warmDeadlineMs) continue;
    hold({ key: { typeUrl: CLUSTER_TYPE, name }, version: flight.upserts.get(name)?.version ?? '', waitsFor: [name] });
  }
  return held;
}

/** True when the same is held back for the same reasons. */
export function isSame(a: ReadonlyMap<string, HeldBack>, b: ReadonlyMap<string, HeldBack>): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [id, { version, waitsFor }] of a) {
    const other = b.get(id);
    if (version !== other?.version || waitsFor.join('\n') !== other.waitsFor.join('\n')) return false;
  }
  return true;
}

/** The revision up to which everything is acknowledged, refused or held back; -1 as long as Envoy has not asked for all that it should have. */
export function settledNow(rules: MakeBeforeBreak, revision: number, heldBack: ReadonlyMap<string, HeldBack>): number {
  for (const typeUrl of ROOTS) if (rules.isWanted(typeUrl) && !rules.isAskedFor(typeUrl)) return -1;
  let open = revision + 1;
  for (const typeUrl of ORDER) {
    const progress = rules.types[typeUrl];
    if (!progress.isQuiet) open = oldestUnsent(rules, progress, open, heldBack);
    if (progress.flight === undefined || (typeUrl === CLUSTER_TYPE && rules.isOverdue(progress.flight))) continue;
    for (const { since } of progress.flight.pending.values()) open = Math.min(open, since);
  }
  return open - 1;
}

/** The oldest revision below `open` of which something is to be sent that nothing excuses. */
function oldestUnsent(rules: MakeBeforeBreak, progress: TypeProgress, open: number, heldBack: ReadonlyMap<string, HeldBack>): number {
  const { typeUrl } = progress;
  const isExcused = typeUrl === CLUSTER_TYPE || (typeUrl === SCOPED_ROUTE_TYPE && rules.filterHalted);
  let oldest = open;
  for (const [name, { since }] of progress.unsent()) {
    if (since >= oldest) continue;
    const goes = progress.wanted(name) === undefined;
    if (goes ? !isExcused : !heldBack.has(resourceId({ typeUrl, name }))) oldest = since;
  }
  return oldest;
}

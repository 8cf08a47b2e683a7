import { sha256Hex } from '#platform/kernel/digest.js';

import type { HeldLoss } from './promotion.js';

/** What a configuration serves. A mapping that is set aside or has no endpoint is not served, and not in it. */
export interface Inventory {
  /** The host of each served mapping by name, `*` for any. */
  readonly routes: ReadonlyMap<string, string>;
  readonly certificates: ReadonlySet<string>;
}

/** A loss that nobody named. */
export interface Shrink {
  /** Names exactly this loss. */
  readonly id: string;
  readonly limitPercent: number;
  readonly losses: readonly HeldLoss[];
}

/** Below so many objects of a kind, a share of them says nothing. */
const LEAST_OBJECTS = 10;
const NAMES_SHOWN = 20;

/**
 * What a push would lose beyond what was ordered: nothing while that is within the limit.
 * @param ordered what changes and deletions named one by one since what is in force, as subjects (`mapping/user`): their loss is the order itself
 * @param limitPercent of the objects in force, of each kind by itself; 100 and nothing is ever too much
 */
export function shrinkOf(inForce: Inventory, next: Inventory, ordered: ReadonlySet<string>, limitPercent: number): Shrink | undefined {
  if (limitPercent >= 100) return undefined;
  const routes = [...inForce.routes.keys()].filter((name) => !next.routes.has(name) && !ordered.has(`mapping/${name}`));
  const certificates = [...inForce.certificates].filter((name) => !next.certificates.has(name) && !ordered.has(`certificate/${name}`));
  const kinds = [
    ['routes', inForce.routes.size, routes],
    ['hosts', new Set(inForce.routes.values()).size, lostHosts(inForce, next, ordered)],
    ['certificates', inForce.certificates.size, certificates],
  ] as const;
  const losses = kinds.flatMap(([kind, before, lost]): (HeldLoss & { readonly all: readonly string[] })[] =>
    before < LEAST_OBJECTS || lost.length * 100 <= limitPercent * before
      ? []
      : [{ kind, before, lost: lost.length, names: [...lost].sort().slice(0, NAMES_SHOWN), all: [...lost].sort() }],
  );
  if (losses.length === 0) return undefined;
  const id = sha256Hex(losses.map(({ kind, all }) => `${kind}\n${all.join('\n')}`).join('\n\n')).slice(0, 16);
  return { id, limitPercent, losses: losses.map(({ kind, before, lost, names }) => ({ kind, before, lost, names })) };
}

/** Hosts that no served mapping has any more, though some mapping that nobody named had them. */
function lostHosts(inForce: Inventory, next: Inventory, ordered: ReadonlySet<string>): string[] {
  const left = new Set(next.routes.values());
  const lost = new Set<string>();
  for (const [name, host] of inForce.routes) if (!left.has(host) && !ordered.has(`mapping/${name}`)) lost.add(host);
  return [...lost];
}

/**
 * Whether a command named what it changed, one by one, or was told to by a plan of exactly that: then what it takes away is meant. An import with `prune`
 * says what shall be there, and what goes with that is nobody's word.
 */
export function isNamedOrder(action: string): boolean {
  return action !== 'ImportConfiguration';
}

import type { MappingState } from '#features/mapping/mapping-state.js';

import type { Entry } from './shard.js';
import type { ShardSizing } from './shard-plan.js';

/** The first segment to which a mapping is bound whole, or undefined: then its prefix may continue within the segment. */
export function boundSegment({ path, prefix }: MappingState): string | undefined {
  const value = path ?? prefix ?? '';
  const slash = value.indexOf('/', 1);
  if (slash > 0) return value.slice(1, slash);
  return path === null ? undefined : value.slice(1);
}

/** What a mapping that is not bound has of the first segment. */
export function openSegment({ prefix }: MappingState): string {
  return (prefix ?? '').slice(1);
}

const none: readonly Entry[] = [];

/**
 * The rows of one host by precedence. Rows bound to a segment are asked in an earlier phase than those that are not, which is their order in the
 * table too, unless an unbound one has a higher precedence. Then it is copied into the shards of the bound ones; where those would be too many
 * copies, the bound ones that it precedes sink into its own phase.
 */
export class HostRows {
  /** Pairs of a precedence and how many bound rows have it. */
  readonly #bound: number[] = [];
  /** By precedence; null without any, since most hosts have none. */
  #unbound: Map<number, Set<Entry>> | null = null;
  /** Bound rows with a lower precedence stand with the unbound ones. */
  sunkBelow = Number.NEGATIVE_INFINITY;

  constructor(readonly host: string) {}

  add(entry: Entry): void {
    const { precedence } = entry.mapping;
    if (boundSegment(entry.mapping) !== undefined) {
      this.#count(precedence, 1);
      return;
    }
    this.#unbound ??= new Map();
    const alike = this.#unbound.get(precedence);
    if (alike === undefined) this.#unbound.set(precedence, new Set([entry]));
    else alike.add(entry);
  }

  delete(entry: Entry): void {
    const { precedence } = entry.mapping;
    if (boundSegment(entry.mapping) !== undefined) {
      this.#count(precedence, -1);
      return;
    }
    const alike = this.#unbound?.get(precedence);
    alike?.delete(entry);
    if (alike?.size === 0) this.#unbound?.delete(precedence);
    if (this.#unbound?.size === 0) this.#unbound = null;
  }

  get isEmpty(): boolean {
    return this.#bound.length === 0 && this.#unbound === null;
  }

  get boundCount(): number {
    return this.#boundBelow(Number.POSITIVE_INFINITY);
  }

  get unboundCount(): number {
    return this.#unboundAbove(Number.NEGATIVE_INFINITY);
  }

  /** The lowest precedence of any row, which only one above it can precede out of turn. */
  get lowest(): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#bound.length; i += 2) lowest = Math.min(lowest, this.#bound[i] as number);
    for (const precedence of this.#unbound?.keys() ?? []) lowest = Math.min(lowest, precedence);
    return lowest;
  }

  /** The unbound rows with a higher precedence. */
  unboundOver(precedence: number): readonly Entry[] {
    if (this.#unbound === null) return none;
    const over: Entry[] = [];
    for (const [level, entries] of this.#unbound) {
      if (level > precedence) for (const entry of entries) over.push(entry);
    }
    return over;
  }

  /** How many unbound rows precede bound ones: all, or those with a higher precedence than one of this host. */
  precedingCount(all: boolean): number {
    return this.#unboundAbove(all ? Number.NEGATIVE_INFINITY : this.#lowestBound());
  }

  /**
   * The precedence below which rows are to sink. `spread`: can the rows of one host be in every shard, whatever the shards' size? `middle`: how much
   * of the segment a middle phase takes, where there is one; what is shorter is copied into that phase as well.
   */
  sinkLevel(spread: boolean, middle: number | undefined, sizing: ShardSizing): number {
    if (this.#unbound === null) return Number.NEGATIVE_INFINITY;
    const highest = Math.max(Number.NEGATIVE_INFINITY, ...this.#unbound.keys());
    const rows = this.boundCount + this.unboundCount;
    const isSunk = (copied: number, preceded: number) =>
      isTooMuch(copied, spread ? Math.min(sizing.mostShards, preceded) : shardsOf(preceded, sizing), rows, sizing);
    if (isSunk(this.precedingCount(false), this.#boundBelow(highest))) return highest;
    if (middle === undefined || this.#unbound.size < 2) return Number.NEGATIVE_INFINITY;
    let short = 0;
    for (const { mapping } of this.unboundOver(Math.min(...this.#unbound.keys()))) if (openSegment(mapping).length < middle) short += 1;
    return isSunk(short, this.unboundCount) ? highest : Number.NEGATIVE_INFINITY;
  }

  #lowestBound(): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#bound.length; i += 2) lowest = Math.min(lowest, this.#bound[i] as number);
    return lowest;
  }

  #boundBelow(precedence: number): number {
    let count = 0;
    for (let i = 0; i < this.#bound.length; i += 2) if ((this.#bound[i] as number) < precedence) count += this.#bound[i + 1] as number;
    return count;
  }

  #unboundAbove(precedence: number): number {
    let count = 0;
    for (const [level, entries] of this.#unbound ?? []) if (level > precedence) count += entries.size;
    return count;
  }

  #count(precedence: number, by: number): void {
    const bound = this.#bound;
    for (let i = 0; i < bound.length; i += 2) {
      if (bound[i] !== precedence) continue;
      bound[i + 1] = (bound[i + 1] as number) + by;
      if (bound[i + 1] === 0) bound.splice(i, 2);
      return;
    }
    bound.push(precedence, by);
  }
}

/** Are copies of so many rows in so many shards more than a table of so many rows may cost? */
export function isTooMuch(copied: number, shards: number, rows: number, sizing: ShardSizing): boolean {
  return copied * shards > sizing.copies + sizing.copiesPerRow * rows;
}

/** How many shards so many bound rows of hosts that are not told apart are in, at most. */
export function shardsOf(bound: number, sizing: ShardSizing): number {
  return Math.min(sizing.mostShards, Math.ceil(bound / sizing.fewestRows));
}

/** The wildcard hosts that are broader than this one, narrowest first: `*.a.b.c` -> `*.b.c`, `*.c`. */
export function broaderWildcards(host: string): string[] {
  const labels = host.slice(2).split('.');
  return labels.slice(1).map((_, i) => `*.${labels.slice(i + 1).join('.')}`);
}

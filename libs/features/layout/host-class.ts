import { boundSegment, broaderWildcards, HostRows, isTooMuch, openSegment, shardsOf } from './host-rows.js';
import { PhaseShards } from './phase-shards.js';
import type { Entry, Shard } from './shard.js';
import { bestPrefixLength, type MiddlePhase, type ShardPlan, type ShardSizing } from './shard-plan.js';

/** Exact hosts, wildcards, any host: the order in which a request falls through them. */
export type ClassId = 'e' | 'w' | 'a';

/** The class of a mapping's host. */
export function classOf(host: string): ClassId {
  if (host === '*') return 'a';
  return host.startsWith('*.') ? 'w' : 'e';
}

/**
 * The rows whose hosts are of one class, and the phases that they stand in: bound to a segment, by its first characters, the rest.
 *
 * A shard must hold with each row every row that precedes it in the table for some request; otherwise it would answer what is another's. Of its own
 * phase they are there, because requests that both match come to one shard. Of later phases they are copied: all that precede the last of the
 * shard's own rows of the same host, and all of narrower wildcard hosts. That set is closed upwards, so whatever the shard finds is right, and what
 * it does not find is none of its own rows'.
 */
export class HostClass {
  readonly #hosts = new Map<string, HostRows>();
  readonly #given: ShardPlan | undefined;
  readonly #bound: PhaseShards;
  #middle: PhaseShards | null = null;
  readonly #rest: PhaseShards;
  #length: number | undefined;
  /** How many unbound rows there were when the middle phase was last thought about. */
  #considered = 0;
  #boundRows = 0;
  #unboundRows = 0;
  /** Wildcards only: hosts with unbound rows, and do all rows of the class stand in its last phase? */
  readonly #withUnbound = new Set<HostRows>();
  #isSunk = false;
  /** Since the last settling: hosts whose rows changed, and the highest precedence of their changed unbound rows. */
  readonly #touched = new Map<string, number>();

  constructor(
    readonly id: ClassId,
    plan: ShardPlan | undefined,
    private readonly sizing: ShardSizing,
  ) {
    this.#given = plan;
    this.#bound = this.#phase('b', 0, 'segment');
    this.#rest = this.#phase('r', 2, 'none');
    this.#length = plan?.middle[id]?.length ?? undefined;
    this.#considered = plan?.middle[id]?.considered ?? 0;
    if (this.#length !== undefined) this.#middle = this.#phase(`l${this.#length}`, 1, this.#length);
  }

  /** Those that have rows, in the order in which they are asked; with `emptied`, those as well that had some when they were given out last. */
  phases(emptied: boolean): PhaseShards[] {
    const all = [this.#bound, this.#middle, this.#rest].filter((phase) => phase !== null);
    return all.filter((phase) => phase.isInForce || (emptied && phase.isGiven));
  }

  /** What of the plan is this class's. */
  get plan(): { readonly shards: Record<string, number>; readonly middle: MiddlePhase } {
    const phases = [this.#bound, this.#middle, this.#rest].filter((phase) => phase !== null);
    return {
      shards: Object.fromEntries(phases.map(({ phase }) => [phase.id, phase.shards])),
      middle: { length: this.#length ?? null, considered: this.#considered },
    };
  }

  /** Takes a row in. @returns the shard that must be made again. */
  add(entry: Entry): Shard {
    const { host } = entry.mapping;
    const rows = this.#hosts.get(host) ?? new HostRows(host);
    this.#hosts.set(host, rows);
    rows.add(entry);
    this.#note(entry, rows, 1);
    return this.#phaseOf(entry, rows).add(entry);
  }

  delete(entry: Entry): void {
    const rows = this.#hosts.get(entry.mapping.host);
    if (rows === undefined) return;
    rows.delete(entry);
    this.#note(entry, rows, -1);
    this.#phaseHolding(entry)?.delete(entry);
    if (rows.isEmpty) this.#hosts.delete(rows.host);
  }

  /** Finds what the changes since the last time ask for beside their own shards. `dirty` gets the shards that are to be made again. */
  settle(entries: () => Iterable<Entry>, dirty: Set<Shard>): void {
    const moved = this.#sink(this.#touched.keys());
    if (moved !== undefined) this.#replaceAll(entries, dirty, moved);
    this.#markCopies(dirty);
    this.#touched.clear();
  }

  /** Have the rows outgrown their shards? `far`: so much that it cannot wait for a moment in which nothing else changes. */
  hasOutgrown(far: boolean): boolean {
    const times = far ? 4 : 1;
    const isFull = this.phases(false).some((phase) => phase.hasOutgrown(this.sizing, times));
    if (this.id === 'w' || isFull) return isFull;
    if (this.#length !== undefined) return !far && this.#unboundRows <= this.sizing.crowd / 2;
    return this.#unboundRows > times * this.sizing.crowd && this.#unboundRows > 1.25 * this.#considered;
  }

  /** Decides anew about the middle phase. @returns whether it is another one. */
  chooseMiddle(entries: () => Iterable<Entry>, dirty: Set<Shard>): boolean {
    if (this.id === 'w' || !this.#chooseLength(entries)) return false;
    this.#sink(this.#hosts.keys());
    this.#replaceAll(entries, dirty, undefined);
    if (this.#length === undefined) this.#middle = null;
    return true;
  }

  /** Divides the rows anew where they have outgrown their shards. */
  resize(): void {
    for (const phase of [this.#bound, this.#middle, this.#rest]) phase?.resize(this.sizing);
  }

  /** A shard's own rows and those of later phases that precede some of them. */
  rowsOf(shard: Shard): Iterable<Entry> {
    if (shard.rank === 2) return shard.rows;
    const lowest = new Map<string, number>();
    for (const { mapping } of shard.rows)
      lowest.set(mapping.host, Math.min(mapping.precedence, lowest.get(mapping.host) ?? mapping.precedence));
    const all = new Set(shard.rows);
    const copy = (rows: HostRows | undefined, over: number) => {
      for (const entry of rows?.unboundOver(over) ?? []) if ((entry.shard?.rank ?? 0) > shard.rank) all.add(entry);
    };
    for (const [host, precedence] of lowest) copy(this.#hosts.get(host), precedence);
    for (const rows of this.#withUnbound) {
      if (broaderWildcards(rows.host).some((broader) => lowest.has(broader))) copy(rows, Number.NEGATIVE_INFINITY);
    }
    return all;
  }

  /** The shards of earlier phases that hold a copy of this row. */
  copiesOf(entry: Entry): Shard[] {
    const rank = entry.shard?.rank ?? 0;
    if (rank === 0 || boundSegment(entry.mapping) !== undefined) return [];
    const { host, precedence } = entry.mapping;
    return this.#shardsUnder(new Map([[host, precedence]])).filter((shard) => shard.rank < rank);
  }

  #phase(name: string, rank: Shard['rank'], part: 'segment' | 'none' | number): PhaseShards {
    const id = this.id + name;
    return new PhaseShards(id, rank, { byHost: this.id === 'e', part, isLast: id === 'ar', shards: this.#given?.shards[id] });
  }

  #note({ mapping }: Entry, rows: HostRows, by: number): void {
    const isBound = boundSegment(mapping) !== undefined;
    if (isBound) this.#boundRows += by;
    else this.#unboundRows += by;
    const highest = this.#touched.get(mapping.host) ?? Number.NEGATIVE_INFINITY;
    this.#touched.set(mapping.host, isBound ? highest : Math.max(highest, mapping.precedence));
    if (this.id !== 'w' || isBound) return;
    if (rows.unboundCount > 0) this.#withUnbound.add(rows);
    else this.#withUnbound.delete(rows);
  }

  #phaseOf({ mapping }: Entry, rows: HostRows): PhaseShards {
    if (this.#isSunk || mapping.precedence < rows.sunkBelow) return this.#rest;
    if (boundSegment(mapping) !== undefined) return this.#bound;
    const isLong = this.#length !== undefined && openSegment(mapping).length >= this.#length;
    return isLong && this.#middle !== null ? this.#middle : this.#rest;
  }

  #phaseHolding(entry: Entry): PhaseShards | null {
    const rank = entry.shard?.rank;
    if (rank === undefined) return null;
    return [this.#bound, this.#middle, this.#rest][rank] ?? null;
  }

  /** Puts the rows of these hosts, or of all, where they now belong. */
  #replaceAll(entries: () => Iterable<Entry>, dirty: Set<Shard>, hosts: ReadonlySet<string> | undefined): void {
    for (const entry of entries()) {
      const { host } = entry.mapping;
      const before = entry.shard;
      if (before === null || classOf(host) !== this.id || hosts?.has(host) === false) continue;
      const rows = this.#hosts.get(host);
      if (rows === undefined) continue;
      this.#phaseHolding(entry)?.delete(entry);
      const after = this.#phaseOf(entry, rows).add(entry);
      if (after !== before) dirty.add(before).add(after);
    }
  }

  /** Is there another middle phase than before? */
  #chooseLength(entries: () => Iterable<Entry>): boolean {
    const limit = this.#length === undefined ? this.sizing.crowd : this.sizing.crowd / 2;
    if (this.#unboundRows <= limit) return this.#useLength(undefined);
    if (this.#length !== undefined || this.#unboundRows <= 1.25 * this.#considered) return false;
    this.#considered = this.#unboundRows;
    const crowded = (host: string) => (this.#hosts.get(host)?.unboundCount ?? 0) > limit;
    const texts: { host: string; text: string }[] = [];
    for (const { mapping, shard } of entries()) {
      if (shard === null || classOf(mapping.host) !== this.id || boundSegment(mapping) !== undefined || !crowded(mapping.host)) continue;
      texts.push({ host: mapping.host, text: openSegment(mapping) });
    }
    return this.#useLength(texts.length === 0 ? undefined : bestPrefixLength(texts));
  }

  #useLength(length: number | undefined): boolean {
    if (length === undefined) this.#considered = this.#unboundRows <= this.sizing.crowd ? 0 : this.#considered;
    if (length === this.#length) return false;
    this.#length = length;
    if (length !== undefined) this.#middle = this.#phase(`l${length}`, 1, length);
    return true;
  }

  /** Decides which of these hosts' rows sink; wildcards sink together. @returns the hosts whose rows may have another place now. */
  #sink(hosts: Iterable<string>): ReadonlySet<string> | undefined {
    if (this.id === 'w') return this.#sinkWildcards() ? new Set(this.#hosts.keys()) : undefined;
    let moved: Set<string> | undefined;
    for (const host of hosts) {
      const rows = this.#hosts.get(host);
      const level = rows?.sinkLevel(this.id === 'e', this.#length, this.sizing) ?? Number.NEGATIVE_INFINITY;
      if (rows === undefined || rows.sunkBelow === level) continue;
      rows.sunkBelow = level;
      moved ??= new Set();
      moved.add(host);
    }
    return moved;
  }

  #sinkWildcards(): boolean {
    if (this.#touched.size === 0) return false;
    let copied = 0;
    for (const rows of this.#withUnbound) copied += rows.precedingCount(this.#isUnderBound(rows.host));
    const isSunk = isTooMuch(copied, shardsOf(this.#boundRows, this.sizing), this.#boundRows + this.#unboundRows, this.sizing);
    if (isSunk === this.#isSunk) return false;
    this.#isSunk = isSunk;
    return true;
  }

  #isUnderBound(host: string): boolean {
    return broaderWildcards(host).some((broader) => (this.#hosts.get(broader)?.boundCount ?? 0) > 0);
  }

  /** Shards that hold a copy of a changed row, or may lose one. */
  #markCopies(dirty: Set<Shard>): void {
    const changed = new Map<string, number>();
    for (const [host, highest] of this.#touched) {
      const isAbove = highest > (this.#hosts.get(host)?.lowest ?? Number.POSITIVE_INFINITY);
      const isNarrower = highest > Number.NEGATIVE_INFINITY && this.id === 'w' && this.#isUnderBound(host);
      if (isAbove || isNarrower) changed.set(host, highest);
    }
    if (changed.size > 0) for (const shard of this.#shardsUnder(changed)) dirty.add(shard);
  }

  /** The shards of the first two phases with a row that one of these hosts' unbound rows of such a precedence stands before. */
  #shardsUnder(hosts: ReadonlyMap<string, number>): Shard[] {
    const broader = new Set(this.id === 'w' ? [...hosts.keys()].flatMap(broaderWildcards) : []);
    const isUnder = ({ mapping }: Entry) =>
      mapping.precedence < (hosts.get(mapping.host) ?? Number.NEGATIVE_INFINITY) || broader.has(mapping.host);
    const shards = [...this.#bound.shards, ...(this.#middle?.shards ?? [])];
    return shards.filter((shard) => {
      for (const entry of shard.rows) if (isUnder(entry)) return true;
      return false;
    });
  }
}

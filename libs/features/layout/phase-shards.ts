import { boundSegment, openSegment } from './host-rows.js';
import { type Phase, type SegmentPart, shardKey, shardOf } from './phase.js';
import { type Entry, Shard } from './shard.js';
import { type ShardSizing, shardCount } from './shard-plan.js';

/** The rows of one phase in their shards. */
export class PhaseShards {
  #shards: Shard[] = [];
  #rows = 0;
  #phase: Phase;

  constructor(
    id: string,
    readonly rank: Shard['rank'],
    options: { readonly byHost: boolean; readonly part: SegmentPart; readonly isLast: boolean; readonly shards: number | undefined },
  ) {
    this.isLast = options.isLast;
    // Where neither host nor segment tells requests apart there is one shard.
    const shards = options.byHost || options.part !== 'none' ? (options.shards ?? 1) : 1;
    this.#phase = { id, byHost: options.byHost, part: options.part, shards };
    this.#make();
  }

  readonly isLast: boolean;

  /** As the filter in Envoy must know it. */
  get phase(): Phase {
    return this.#phase;
  }

  get shards(): readonly Shard[] {
    return this.#shards;
  }

  /** A phase without rows is not asked, the last one excepted: what finds nothing anywhere must end somewhere. */
  get isInForce(): boolean {
    return this.#rows > 0 || this.isLast;
  }

  get isGiven(): boolean {
    return this.#shards[0]?.resource !== undefined;
  }

  add(entry: Entry): Shard {
    const shard = this.#shardFor(entry);
    shard.rows.add(entry);
    entry.shard = shard;
    this.#rows += 1;
    return shard;
  }

  delete(entry: Entry): void {
    if (entry.shard?.rows.delete(entry) === true) this.#rows -= 1;
    entry.shard = null;
  }

  /** Is another count of shards due; with `times`, only because there are so many times too many rows to a shard? */
  hasOutgrown(sizing: ShardSizing, times: number): boolean {
    if (!this.#isDivided) return false;
    const { shards } = this.#phase;
    return times === 1 ? shardCount(this.#rows, shards, sizing) !== shards : this.#rows / shards > times * sizing.mostRows;
  }

  get #isDivided(): boolean {
    return this.#phase.byHost || this.#phase.part !== 'none';
  }

  /** Divides the rows anew when they have outgrown the count of shards. */
  resize(sizing: ShardSizing): void {
    const shards = this.#isDivided ? shardCount(this.#rows, this.#phase.shards, sizing) : 1;
    if (shards === this.#phase.shards) return;
    const rows = this.#shards.flatMap((shard) => [...shard.rows]);
    const given = this.#shards.flatMap((shard) => shard.given).filter((entry) => this.#isOwn(entry));
    this.#phase = { ...this.#phase, shards };
    this.#make();
    this.#rows = 0;
    for (const entry of rows) this.add(entry);
    // What has left the phase since it was given out is asked for in the new shards as well, until it is known where it went.
    for (const entry of given) this.#shardFor(entry).given.push(entry);
  }

  #shardFor({ mapping }: Entry): Shard {
    const segment = this.rank === 0 ? (boundSegment(mapping) ?? '') : openSegment(mapping);
    return this.#shards[shardOf(this.#phase, mapping.host, segment)] as Shard;
  }

  /** Is it a row that belongs here, and not a copy of one of a later phase? */
  #isOwn({ mapping }: Entry): boolean {
    if (this.rank === 0) return boundSegment(mapping) !== undefined;
    return typeof this.#phase.part !== 'number' || openSegment(mapping).length >= this.#phase.part;
  }

  #make(): void {
    this.#shards = Array.from({ length: this.#phase.shards }, (_, n) => new Shard(shardKey(this.#phase, n), this.rank, this.isLast));
  }
}

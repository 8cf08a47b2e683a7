import { boundSegment, type Entry, openSegment } from './host-rows.js';
import { type Phase, type SegmentPart, shardKey, shardOf } from './phase.js';
import { Shard } from './shard.js';
import { shardCount } from './shard-plan.js';

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

  add(entry: Entry): Shard {
    const { mapping } = entry;
    const segment = this.rank === 0 ? (boundSegment(mapping) ?? '') : openSegment(mapping);
    const shard = this.#shards[shardOf(this.#phase, mapping.host, segment)] as Shard;
    shard.rows.add(entry);
    entry.shard = shard;
    this.#rows += 1;
    return shard;
  }

  delete(entry: Entry): void {
    if (entry.shard?.rows.delete(entry) === true) this.#rows -= 1;
    entry.shard = null;
  }

  /** Divides the rows anew when they have outgrown the count of shards. */
  resize(): void {
    const isDivided = this.#phase.byHost || this.#phase.part !== 'none';
    const shards = isDivided ? shardCount(this.#rows, this.#phase.shards) : 1;
    if (shards === this.#phase.shards) return;
    const rows = this.#shards.flatMap((shard) => [...shard.rows]);
    this.#phase = { ...this.#phase, shards };
    this.#make();
    this.#rows = 0;
    for (const entry of rows) this.add(entry);
  }

  #make(): void {
    this.#shards = Array.from({ length: this.#phase.shards }, (_, n) => new Shard(shardKey(this.#phase, n), this.rank, this.isLast));
  }
}

import type { FencePosition } from '#features/rollout/rollout.js';

/** Places in the fence that are reserved in the target's row. */
export interface ReservedBlock {
  readonly lineage: number;
  readonly lineageId: string;
  readonly term: number;
  /** The first one and the last one. */
  readonly from: number;
  readonly to: number;
}

/** So many places are reserved at a time: what a restored database can fail to notice by the fence alone, and half a second of releases. */
export const BLOCK_SIZE = 64;

/**
 * The places in the fence that one stream may still give out: reserved in the database before they are used, so that giving one out needs no database.
 * The next block is asked for when half of this one is used.
 */
export class FenceBlock {
  readonly #reserve: () => Promise<ReservedBlock | undefined>;
  readonly #onReserved: () => void;
  readonly #onError: (error: unknown) => void;
  #block: ReservedBlock | undefined;
  #next = 0;
  #reserving = false;
  /** Raised by `drop`: what was asked for before is of no use. */
  #round = 0;

  /** @param options.reserve undefined: the stream is not ours any more, or the target must not be written to. */
  constructor(options: { reserve(): Promise<ReservedBlock | undefined>; onReserved(): void; onError(error: unknown): void }) {
    this.#reserve = () => options.reserve();
    this.#onReserved = () => options.onReserved();
    this.#onError = (error) => options.onError(error);
  }

  /** The next place; undefined when there is none, and then `onReserved` is called when there is. */
  take(): FencePosition | undefined {
    const block = this.#block;
    const left = block === undefined ? 0 : block.to - this.#next + 1;
    if (left <= BLOCK_SIZE / 2) this.ask();
    if (block === undefined || left <= 0) return undefined;
    const { lineage, lineageId, term } = block;
    const sequence = this.#next;
    this.#next += 1;
    return { lineage, lineageId, term, sequence };
  }

  /** Forgets what is left: the row was written past it by another kind of push, or the lineage was raised. */
  drop(): void {
    this.#block = undefined;
    this.#round += 1;
  }

  /** Asks for the next block now, unless one is under way. */
  ask(): void {
    if (this.#reserving) return;
    this.#reserving = true;
    const round = this.#round;
    this.#reserve()
      .then((block) => {
        this.#reserving = false;
        if (block === undefined) return;
        if (round !== this.#round) return this.ask();
        this.#extend(block);
        this.#onReserved();
      })
      .catch((error: unknown) => {
        this.#reserving = false;
        this.#onError(error);
      });
  }

  /** Blocks follow each other without a gap unless somebody else took places between them. What is left of the old one is used up first where it can be. */
  #extend(block: ReservedBlock): void {
    const old = this.#block;
    const continues = old !== undefined && old.lineage === block.lineage && old.term === block.term && old.to + 1 === block.from;
    this.#block = continues ? { ...block, from: old.from } : block;
    if (!continues) this.#next = block.from;
  }
}

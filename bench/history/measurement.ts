import type { Database } from '#platform/database/database.js';
import type { Log } from '#platform/log/log.js';

/** The history that everything is measured on. */
export interface Prepared {
  readonly database: Database;
  /** For what a part must do as the owner of the tables. */
  readonly ownerUrl: string;
  readonly gateway: string;
  readonly stream: string;
  /** How many versions the stream has; each holds one event. */
  readonly versions: number;
  readonly mappings: number;
  readonly log: Log;
}

/** One thing that the product does, beside its limit: the least that anybody could do to get as many rows. */
export interface Measurement {
  readonly name: string;
  /** What the limit is, in words. */
  readonly against: string;
  /** The most that the ratio should be; undefined where none was promised. */
  readonly goal?: number;
  /** How often each side runs in a block; the block's figure is the median. */
  readonly times: number;
  /** In so many blocks at most: for what takes minutes. */
  readonly mostBlocks?: number;
  /** What must be so before each block and is not measured. */
  prepare?(): Promise<void>;
  /** Both answer how many rows they got: the two must agree, where the limit is rows. `turn` counts up, so that not every run asks for the same. */
  product(turn: number): Promise<number>;
  limit(turn: number): Promise<number>;
  /** Rows of `product` a second are of interest too. */
  readonly isRate?: boolean;
}

/** Opens the measurements of one part of the product. */
export type OpenPart = (prepared: Prepared) => Promise<readonly Measurement[]>;

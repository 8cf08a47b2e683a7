/**
 * What a table has decided about its shards. Each decision is a pure function of the rows with the plan in force, and holds until the rows have
 * outgrown it, so that a table at a boundary does not go to and fro. JSON.
 */
export interface ShardPlan {
  /** How many shards each phase has, by its id. */
  readonly shards: Readonly<Record<string, number>>;
  /** For each class of hosts, what was decided about its middle phase. */
  readonly middle: Readonly<Record<string, MiddlePhase>>;
  /** Are requests counted per mapping? */
  readonly stats: boolean;
}

/** The phase for rows that are bound to the first characters of a segment. */
export interface MiddlePhase {
  /** How many characters; null without such a phase. */
  readonly length: number | null;
  /** How many unbound rows there were when it was decided. */
  readonly considered: number;
}

/** How large shards become, and what copies may cost. Measured: 64 to 128 routes in a shard are the knee of how long a change takes in Envoy. */
export interface ShardSizing {
  /** A count of shards is kept while there are so many rows to a shard. */
  readonly fewestRows: number;
  readonly mostRows: number;
  /** Otherwise there come to be at most so many, and at least half of it. */
  readonly rowsToAimAt: number;
  readonly mostShards: number;
  /** So many unbound rows of one host ask for a middle phase; at half of it, it is given up. */
  readonly crowd: number;
  /** How many copies of rows a table may have at all, and beside them for each row. */
  readonly copies: number;
  readonly copiesPerRow: number;
}

export const ordinarySizing: ShardSizing = {
  fewestRows: 16,
  mostRows: 160,
  rowsToAimAt: 64,
  mostShards: 4096,
  crowd: 160,
  copies: 1024,
  copiesPerRow: 4,
};

/** The count of shards, a power of two, for so many rows, with the count in force kept while it fits. */
export function shardCount(rows: number, inForce: number, sizing: ShardSizing): number {
  const few = rows / inForce < sizing.fewestRows && inForce > 1;
  const many = rows / inForce > sizing.mostRows && inForce < sizing.mostShards;
  if (!few && !many) return inForce;
  if (rows <= sizing.mostRows) return 1;
  return Math.min(sizing.mostShards, 2 ** Math.ceil(Math.log2(rows / sizing.rowsToAimAt)));
}

/** `auto` keeps statistics per mapping up to here, and has them back below the other: each change of it touches every route. */
const mostCounted = 10_000;
const countedAgain = 8000;

/** Are requests counted per mapping? `inForce` is undefined for a table that has not decided yet. */
export function countsRequests(setting: 'auto' | 'on' | 'off', rows: number, inForce: boolean | undefined): boolean {
  return setting === 'on' || (setting === 'auto' && rows <= (inForce === false ? countedAgain : mostCounted));
}

const longestPrefix = 24;
const mostSampled = 2000;

/**
 * How many first characters of the segment spread these texts best: `rest` of them are shorter and stay together, and the fullest shard holds the
 * largest share of the others. Undefined when nothing leaves less than half of them together (texts that begin alike, or are the same).
 * Each text is what a prefix has of its first segment, behind the host where hosts are told apart.
 */
export function bestPrefixLength(texts: readonly { readonly host: string; readonly text: string }[]): number | undefined {
  const every = Math.ceil(texts.length / mostSampled);
  const sample = texts.filter((_, i) => i % every === 0);
  let best: { length: number; together: number } | undefined;
  for (let length = 1; length <= longestPrefix; length++) {
    const shorter = sample.filter(({ text }) => text.length < length).length;
    const buckets = new Map<string, number>();
    for (const { host, text } of sample) {
      if (text.length < length) continue;
      const bucket = `${host}\n${text.slice(0, length)}`;
      buckets.set(bucket, (buckets.get(bucket) ?? 0) + 1);
    }
    const together = shorter + Math.max(0, ...buckets.values());
    if (best === undefined || together < best.together) best = { length, together };
  }
  return best !== undefined && best.together < sample.length / 2 ? best.length : undefined;
}

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

const fewestRows = 16;
const mostRows = 160;
const rowsToAimAt = 64;
const mostShards = 4096;

/** The count of shards for so many rows, with the count in force kept while there are 16 to 160 rows to a shard. */
export function shardCount(rows: number, inForce: number): number {
  const few = rows / inForce < fewestRows && inForce > 1;
  const many = rows / inForce > mostRows && inForce < mostShards;
  if (!few && !many) return inForce;
  if (rows <= mostRows) return 1;
  return Math.min(mostShards, 2 ** Math.ceil(Math.log2(rows / rowsToAimAt)));
}

/** `auto` keeps statistics per mapping up to here, and has them back below the other: each change of it touches every route. */
const mostCounted = 10_000;
const countedAgain = 8000;

/** Are requests counted per mapping? `inForce` is undefined for a table that has not decided yet. */
export function countsRequests(setting: 'auto' | 'on' | 'off', rows: number, inForce: boolean | undefined): boolean {
  return setting === 'on' || (setting === 'auto' && rows <= (inForce === false ? countedAgain : mostCounted));
}

/** So many rows of one host that are not bound to a segment ask for a middle phase; below half of it, it is given up. */
export const crowd = 160;

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

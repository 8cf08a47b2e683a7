/**
 * What a table has decided about its shards. Each decision is a pure function of the rows with the plan in force, and holds until the rows have
 * outgrown it, so that a table at a boundary does not go to and fro. JSON.
 */
export interface ShardPlan {
  /** How many shards each phase has, by its id. */
  readonly shards: Readonly<Record<string, number>>;
  /** For each class of hosts, how many characters of the segment its middle phase takes; absent without one. */
  readonly prefixLength: Readonly<Record<string, number>>;
  /** Are requests counted per mapping? */
  readonly stats: boolean;
}

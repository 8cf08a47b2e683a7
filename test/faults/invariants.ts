/** What must hold, whatever fails. */
export type Invariant = 'I6' | 'I7' | 'I8' | 'I9' | 'I13' | 'I14' | 'I15' | 'I16';

/** What a history is held to. */
export interface Limits {
  /** From the last fault's end (or the last change) to every node on the newest version. */
  readonly convergeMs: number;
  /** From a node's killed Envoy to the first right answer. */
  readonly coldStartMs: number;
  /** How long an older version may still be seen after a newer one. */
  readonly overlapMs: number;
  /** From a bad change to the last node without it. */
  readonly containMs: number;
  /** How much later than its deadline an answer may come: the client's own delay. */
  readonly slackMs: number;
  /** Latency's 99th percentile under faults against the one before them, where there are enough of both. */
  readonly p99Times: number;
  readonly p99FloorMs: number;
}

/** One invariant's part of a verdict. */
export interface Finding {
  readonly checked: number;
  readonly messages: readonly string[];
}

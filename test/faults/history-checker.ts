import { checkContained, checkConvergence, checkFailStatic } from './convergence-invariants.js';
import type { HistoryRecord } from './fault-history.js';
import { checkBoundedWait, checkNeverBack, checkNoAuthorityLeak, checkNoMixture, checkZeroLoss } from './trace-invariants.js';

export type Invariant = 'I6' | 'I7' | 'I8' | 'I9' | 'I13' | 'I14' | 'I15' | 'I16';

/** Something that must not be in a history. */
export interface Violation {
  readonly invariant: Invariant;
  readonly message: string;
}

/** What the invariants say of one history. */
export interface HistoryVerdict {
  readonly violations: readonly Violation[];
  /** How many facts each invariant was checked on: one that met none says nothing, whatever its name promises. */
  readonly checked: Readonly<Record<Invariant, number>>;
}

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

export const liveLimits: Limits = {
  convergeMs: 10_000,
  coldStartMs: 2_000,
  overlapMs: 1_000,
  containMs: 60_000,
  slackMs: 500,
  p99Times: 3,
  p99FloorMs: 50,
};

/** One invariant's part of a verdict. */
export interface Finding {
  readonly checked: number;
  readonly messages: readonly string[];
}

const checkers: Readonly<Record<Invariant, (history: readonly HistoryRecord[], limits: Limits) => Finding>> = {
  I6: checkConvergence,
  I7: checkNeverBack,
  I8: checkZeroLoss,
  I9: checkNoMixture,
  I13: checkFailStatic,
  I14: checkContained,
  I15: checkNoAuthorityLeak,
  I16: checkBoundedWait,
};

/** Holds a history to the invariants I6 to I9 and I13 to I16. Pure: the same history has the same verdict. */
export function checkHistory(history: readonly HistoryRecord[], limits: Limits = liveLimits): HistoryVerdict {
  const ordered = [...history].sort((a, b) => a.t_mono - b.t_mono); // stable: what was written first stays first
  const findings = Object.entries(checkers).map(([invariant, check]) => [invariant as Invariant, check(ordered, limits)] as const);
  return {
    violations: findings.flatMap(([invariant, { messages }]) => messages.map((message) => ({ invariant, message }))),
    checked: Object.fromEntries(findings.map(([invariant, { checked }]) => [invariant, checked])) as Record<Invariant, number>,
  };
}

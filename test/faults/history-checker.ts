import { checkContained, checkConvergence, checkFailStatic } from './convergence-invariants.js';
import type { HistoryRecord } from './fault-history.js';
import type { Finding, Invariant, Limits } from './invariants.js';
import { checkBoundedWait, checkNeverBack, checkNoAuthorityLeak, checkNoMixture, checkZeroLoss } from './trace-invariants.js';

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

export const liveLimits: Limits = {
  convergeMs: 10_000,
  coldStartMs: 2_000,
  overlapMs: 1_000,
  containMs: 60_000,
  slackMs: 500,
  p99Times: 3,
  p99FloorMs: 50,
};

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

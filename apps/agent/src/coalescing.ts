/** What the two lanes know of each other when one of them asks whether to go on. Times are monotonic milliseconds. */
export interface Situation {
  readonly now: number;
  /** The newest accepted release arrived; null when none waits for the gate. */
  readonly arrivedAt: number | null;
  /** The gate began; null when it is free. */
  readonly gatingSince: number | null;
  /** A release has passed the gate and waits for Envoy. */
  readonly ready: boolean;
  /** The Envoy lane restarts or proves. */
  readonly busy: boolean;
  /** The parent of the last restart should be gone; null when no parent drains. */
  readonly windowEndsAt: number | null;
}

/** While a parent drains nothing can be applied, so the gate waits until no newer release has come for this long. */
const QUIET_MS = 300;
/** Before the window ends the gate does not wait any more: a small configuration passes in less. */
const GATE_AHEAD_MS = 1500;
/** At the end of a window a release that is ready waits this long for a newer one in the gate, rather than cost that one a whole window. */
const GATE_PATIENCE_MS = 3000;

/**
 * Whether the gate may take the newest release now. When nothing runs and nothing drains: at once, no change waits for a possible next
 * one. Not beside a restart or a proof, which it would slow down, and not before a release that is ready has been taken.
 */
export function mayGate({ now, arrivedAt, gatingSince, ready, busy, windowEndsAt }: Situation): boolean {
  if (arrivedAt === null || gatingSince !== null || busy) return false;
  if (windowEndsAt === null) return !ready;
  return now - arrivedAt >= QUIET_MS || windowEndsAt - now <= GATE_AHEAD_MS;
}

/** Whether Envoy may be given the release that is ready now. */
export function mayApply({ now, gatingSince, ready, busy, windowEndsAt }: Situation): boolean {
  if (!ready || busy || windowEndsAt !== null) return false;
  return gatingSince === null || now - gatingSince >= GATE_PATIENCE_MS;
}

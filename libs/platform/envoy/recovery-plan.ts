/** A configuration that an epoch can be started with: the file `configs/<key>.json` in the node's folder and its drain window. */
export interface EpochConfig {
  /** Names the release it was made of; later releases have greater keys. */
  readonly key: string;
  readonly drainTimeS: number;
  readonly parentShutdownTimeS: number;
  /** Delivered live: the node's name, to which the epoch is added, so that the ADS streams of two epochs can be told apart. */
  readonly serviceNode?: string | undefined;
}

/** One death of a live Envoy. Times are monotonic milliseconds. */
export interface Crash {
  readonly key: string;
  readonly at: number;
}

export interface RecoveryPlan {
  /** Milliseconds to wait before the next start. */
  readonly delayMs: number;
  /** What to try, in order. */
  readonly candidates: readonly EpochConfig[];
}

/** Crashes older than this say nothing about the configuration any more. */
const CRASH_WINDOW_MS = 60_000;
/** The first death is answered at once, since traffic is refused until Envoy is back; from the second on, 100 ms doubling. */
const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 10_000;
/** A configuration that Envoy died under this often within the window goes behind the older ones. */
const SUSPECT_AFTER = 3;

/**
 * What to start after a death, given the deaths so far (this one included) and the configurations that are known to be good, best first.
 * A configuration under which Envoy keeps dying is tried last, not dropped: the fault may be the machine's.
 */
export function planRecovery(crashes: readonly Crash[], candidates: readonly EpochConfig[], now: number): RecoveryPlan {
  const recent = crashes.filter((crash) => now - crash.at <= CRASH_WINDOW_MS);
  const count = (key: string) => recent.filter((crash) => crash.key === key).length;
  const suspect = (config: EpochConfig) => count(config.key) >= SUSPECT_AFTER;
  return {
    delayMs: recent.length <= 1 ? 0 : Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(recent.length - 2, 20)),
    candidates: [...candidates.filter((config) => !suspect(config)), ...candidates.filter(suspect)],
  };
}

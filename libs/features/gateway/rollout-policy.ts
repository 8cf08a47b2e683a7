import type { FieldError } from '#platform/kernel/errors.js';
import type { JsonObject } from '#platform/kernel/json.js';

/** How a new version of a gateway comes to its targets. */
export interface RolloutPolicy extends JsonObject {
  /**
   * immediate: to every target at once. waves: to the canary, then to a share of the targets, then to all, each proven and soaked before the next.
   * manual: to none before somebody promotes it.
   */
  readonly strategy: 'immediate' | 'waves' | 'manual';
  /** The targets of the first wave: a name, or a pattern in which `*` stands for any text. Null: the first by name. */
  readonly canary: string | null;
  /** How many of the targets have the version after the second wave, canaries included. Per cent. */
  readonly sharePercent: number;
  /** How long each wave is watched after its last target has proven the version. Seconds. */
  readonly soakS: number;
  /** How long the targets of a wave have to prove it. Seconds. */
  readonly proofDeadlineS: number;
  /** A wave is halted when its 5xx or no-route answers rise above what they were before by more than this. Percentage points of its requests. */
  readonly errorRisePercent: number;
  /** A push that loses more than this of the routes, hosts or certificates in force, unnamed, is held until somebody confirms it. Per cent; 100: never. */
  readonly shrinkPercent: number;
}

export const defaultRollout: RolloutPolicy = {
  strategy: 'immediate',
  canary: null,
  sharePercent: 25,
  soakS: 60,
  proofDeadlineS: 120,
  errorRisePercent: 5,
  shrinkPercent: 30,
};

/** A policy out of the log; what an older version did not know has its default. */
export function rolloutPolicyOf(state: unknown): RolloutPolicy {
  return { ...defaultRollout, ...(typeof state === 'object' ? state : null) };
}

const ranges = {
  sharePercent: [1, 100],
  soakS: [0, 86_400],
  proofDeadlineS: [1, 3_600],
  errorRisePercent: [0, 100],
  shrinkPercent: [1, 100],
} as const;

/** What is wrong with a policy, its pointers relative to the settings. */
export function* rolloutFaults(policy: RolloutPolicy): Iterable<FieldError> {
  for (const [key, [least, most]] of Object.entries(ranges) as [keyof typeof ranges, readonly [number, number]][]) {
    if (policy[key] >= least && policy[key] <= most) continue;
    yield { pointer: `/rollout/${key}`, code: 'rollout_out_of_range', message: `${key} is from ${least} to ${most}.` };
  }
  if (policy.canary !== null && !/^[A-Za-z0-9*][A-Za-z0-9._*-]{0,63}$/.test(policy.canary)) {
    const message = 'canary names a target, or several by a pattern with *: letters, digits, dots, hyphens, underscores and *, at most 64.';
    yield { pointer: '/rollout/canary', code: 'rollout_canary_invalid', message };
  }
}

import type { Rendered } from '#features/rollout/compile.js';
import type { NewestRender } from '#features/rollout/rollout.js';

/** The newest configuration of one target. */
export interface TargetRender extends NewestRender {
  /** Equal keys, equal render: nothing that it was made of has changed. */
  readonly key: string;
  readonly rendered: Rendered;
  readonly durationMs: number;
}

import type { Rendered } from '#features/rollout/compile.js';
import type { NewestRender } from '#features/rollout/rollout.js';

/** The newest configuration of one target. */
export interface TargetRender extends NewestRender {
  /** Equal keys, equal render: nothing that it was made of has changed. */
  readonly key: string;
  readonly rendered: Rendered;
  /** The record that says that the target should run this version, for one that is not the head; else ''. */
  readonly lowerVersionReason: string;
  readonly durationMs: number;
}

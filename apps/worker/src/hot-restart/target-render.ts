import type { ServedCertificate } from '#features/layout/certificate-probes.js';
import type { Rendered } from '#features/rollout/compile.js';
import type { NewestRender } from '#features/rollout/rollout.js';
import type { LiveProbe } from '#platform/xds/generated/delivery.js';

/** The newest configuration of one target. */
export interface TargetRender extends NewestRender {
  /** Equal keys, equal render: nothing that it was made of has changed. */
  readonly key: string;
  readonly rendered: Rendered;
  /** The record that says that the target should run this version, for one that is not the head; else ''. */
  readonly lowerVersionReason: string;
  readonly durationMs: number;
  /** The certificates that its Envoy must show, and how they are asked for. */
  readonly certificates: readonly ServedCertificate[];
  readonly probes: readonly LiveProbe[];
  /** Something in it is only on nodes that have it. */
  readonly hasHeld: boolean;
}

import type { ResourceKey } from '#platform/xds/xds-resource.js';
import type { ReleaseName } from './release-files.js';

/** One step of what was done with a release, before it gets its number and its time. */
export interface StepReport {
  readonly name: ReleaseName;
  readonly step: string;
  readonly durationMs?: number;
  readonly epochFrom?: number;
  readonly epochTo?: number;
  readonly code?: string;
  readonly detail?: string;
  /** The first gateway version that it is about; 0 when unknown. */
  readonly coversFrom?: number;
  readonly resources?: readonly ResourceKey[];
  /** Of a release that went live: the disk is asked for it, not waited for, as for the release itself. */
  readonly live?: boolean;
}

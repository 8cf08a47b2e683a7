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
}

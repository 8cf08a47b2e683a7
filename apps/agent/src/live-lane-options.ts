import type { EnvoySupervisor } from '#platform/envoy/hot-restart.js';
import type { Release } from '#platform/envoy/release-store.js';
import type { Log } from '#platform/log/log.js';
import type { LiveNode } from './live-node.js';
import type { LiveRelay } from './live-relay.js';
import type { NodeState } from './node-state.js';
import type { KeyedRelease } from './release-files.js';
import type { StepReport } from './step-report.js';

/** Who starts Envoys. */
export interface LiveEnvoy {
  readonly running: KeyedRelease | null;
  heads(bootstrapSha256: string): boolean;
  take(base: KeyedRelease): void;
}

export interface LiveLaneOptions {
  readonly node: LiveNode;
  readonly relay: LiveRelay;
  readonly supervisor: EnvoySupervisor;
  readonly state: NodeState;
  /** Where the real listener is, and the header of a proof. */
  readonly probe: { readonly host: string; readonly port: number; readonly headers: Readonly<Record<string, string>> };
  readonly log: Log;
  readonly failpoint: (name: string) => void;
  readonly report: (report: StepReport) => void;
  readonly onChange: () => void;
  /** Aborted when the agent ends: waiting stops. */
  readonly signal: AbortSignal;
  /** What runs, and takes over what must be started. */
  readonly envoy: () => LiveEnvoy;
  /** Stores a base; answers its key. */
  readonly save: (base: Release) => string;
}

/** `again`: the machine is in the way, or Envoy died; nothing is said against the release. */
export type LiveOutcome =
  | { readonly kind: 'proven' }
  | { readonly kind: 'failed'; readonly code: string; readonly detail: string }
  | { readonly kind: 'again' };

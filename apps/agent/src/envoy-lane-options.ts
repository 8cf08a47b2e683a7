import type { LiveEpoch } from '#platform/envoy/epoch-start.js';
import type { EnvoySupervisor } from '#platform/envoy/hot-restart.js';
import type { NodeFolder } from '#platform/envoy/node-folder.js';
import type { ReleaseStore } from '#platform/envoy/release-store.js';
import type { Log } from '#platform/log/log.js';
import type { EnvoyStats } from './envoy-stats.js';
import type { LiveLane } from './live-lane.js';
import type { NodeState } from './node-state.js';
import type { StepReport } from './step-report.js';

/** How the marker is asked for, and where the real listener is. */
interface Probe {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface EnvoyLaneOptions {
  readonly folder: NodeFolder;
  readonly supervisor: EnvoySupervisor;
  readonly store: ReleaseStore;
  readonly state: NodeState;
  readonly probe: Probe;
  readonly stats: EnvoyStats;
  readonly log: Log;
  readonly failpoint: (name: string) => void;
  readonly report: (report: StepReport) => void;
  readonly live: () => Pick<LiveLane, 'nameOf' | 'prove' | 'envoyDied' | 'progress'>;
  /** Another process is the live Envoy now. */
  readonly onLive: (live: LiveEpoch) => void;
  /** Aborted when the agent ends: waiting stops, Envoy stays. */
  readonly signal: AbortSignal;
}

/** `again`: Envoy died meanwhile, which says nothing against the release. `failed`: it does not serve, and something else should. */
export type Applied = 'proven' | 'failed' | 'again';

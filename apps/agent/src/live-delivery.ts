import type { EnvoySupervisor } from '#platform/envoy/hot-restart.js';
import { LiveStore } from '#platform/envoy/live-store.js';
import type { NodeFolder } from '#platform/envoy/node-folder.js';
import type { Release } from '#platform/envoy/release-store.js';
import type { Log } from '#platform/log/log.js';
import { LiveLane } from './live-lane.js';
import type { LiveEnvoy } from './live-lane-options.js';
import { LiveNode } from './live-node.js';
import { LiveRelay } from './live-relay.js';
import type { NodeState } from './node-state.js';
import type { StepReport } from './step-report.js';

export interface LiveDeliveryOptions {
  readonly folder: NodeFolder;
  readonly supervisor: EnvoySupervisor;
  readonly state: NodeState;
  /** Where the real listener is, and the header of a proof. */
  readonly probe: { readonly host: string; readonly port: number; readonly headers: Readonly<Record<string, string>> };
  readonly log: Log;
  readonly failpoint: (name: string) => void;
  readonly report: (report: StepReport) => void;
  readonly fault: (file: string, reason: string) => void;
  readonly onChange: () => void;
  readonly signal: AbortSignal;
  /** Asked only after `start`. */
  readonly envoy: () => LiveEnvoy;
  readonly save: (base: Release) => string;
}

/** Live delivery of one node, put together: what it holds, whom it serves, what is proven. */
export interface LiveDelivery {
  readonly node: LiveNode;
  readonly lane: LiveLane;
  /** Serves what the disk has; before any Envoy is started or adopted, because it would wait for it. */
  start(): Promise<void>;
  /** Resolves when the disk has every release that was accepted. */
  stored(): Promise<void>;
  stop(): Promise<void>;
}

export function createLive(options: LiveDeliveryOptions): LiveDelivery {
  const { folder, supervisor, state, probe, log, failpoint, report, fault, onChange, signal, envoy, save } = options;
  const onFault = (reason: string) => fault('live', reason);
  const store = new LiveStore(folder.live, onFault);
  const node = new LiveNode({ store, state, failpoint });
  node.load();
  const relay: LiveRelay = new LiveRelay({
    socketPath: folder.xdsSocket,
    served: node.served,
    admin: supervisor.admin,
    log,
    systemVersion: () => String(node.release?.version ?? 0),
    current: () => supervisor.last, // a dead one has no stream, so nobody needs to ask whether it lives
    onRejected: (rejection) => lane.trouble.rejected(rejection),
    onHeldBack: (held) => lane.trouble.heldBack(held),
    onProgress: () => lane.progress(),
  });
  const lane: LiveLane = new LiveLane({ node, relay, supervisor, state, probe, log, failpoint, report, onChange, signal, envoy, save });
  return {
    node,
    lane,
    async start() {
      await relay.start();
      lane.start();
    },
    stored: () => store.synced(),
    async stop() {
      await lane.stop();
      relay.close();
      await store.close();
    },
  };
}

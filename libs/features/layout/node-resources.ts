import type { GatewaySettings, ListenAddress } from '#features/gateway/gateway.js';
import type { XdsResource } from '#platform/xds/xds-resource.js';

import type { Phase } from './phase.js';

/** What one node has of its own beside the resources of its gateway. */
export interface NodeResources {
  /** Its listener, the filter that finds the shards, and the scope of the reserved paths. */
  readonly overlay: readonly XdsResource[];
  /** What Envoy is started with, canonical JSON. */
  readonly bootstrap: Buffer;
  readonly bootstrapSha256: string;
  /** What the marker path answers on this node; the same as long as bootstrap and listener are. */
  readonly marker: string;
}

/** The resources of one node. Pure: equal inputs give equal bytes. */
export function nodeResources(_input: {
  readonly gateway: string;
  readonly settings: Pick<GatewaySettings, 'http' | 'idleTimeoutMs'>;
  readonly node: { readonly http: ListenAddress | null; readonly proofSecret: string };
  readonly phases: readonly Phase[];
}): NodeResources {
  throw new Error('not yet');
}

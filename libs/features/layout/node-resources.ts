import { reservedRoutes, type ScopedParts, toLiveBootstrap, toScopedListener } from '#features/gateway/gateway.envoy.js';
import type { GatewaySettings, ListenAddress } from '#features/gateway/gateway.js';
import { streamIdleTimeoutMs } from '#features/mapping/mapping.envoy.js';
import type { AdsConfigSource } from '#platform/envoy/model/cluster.js';
import { SHARD_HEADER } from '#platform/envoy/model/reserved.js';
import type { VirtualHost } from '#platform/envoy/model/route.js';
import { extensionMessage, listenerMessage } from '#platform/envoy/wire/listener-messages.js';
import { scopedRouteMessage } from '#platform/envoy/wire/route-messages.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import { canonicalJson } from '#platform/kernel/json.js';
import { EXTENSION_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE, type XdsResource } from '#platform/xds/xds-resource.js';

import type { Phase } from './phase.js';
import { scopeOf } from './shard.js';
import {
  mostTransitions,
  RESERVED_SCOPE,
  ROUTE_METADATA,
  SHARD_FILTER,
  SHARD_FILTER_TYPE,
  shardFilter,
  transitionFilter,
} from './shard-filter.envoy.js';
import { toResource } from './upstream-resources.js';

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
export function nodeResources(input: {
  readonly gateway: string;
  readonly settings: Pick<GatewaySettings, 'http' | 'idleTimeoutMs'>;
  readonly node: { readonly http: ListenAddress | null; readonly proofSecret: string };
  readonly phases: readonly Phase[];
}): NodeResources {
  const { settings, node, phases } = input;
  const parts = { http: node.http ?? settings.http, settings, streamIdleTimeoutMs };
  const listener = toResource({ typeUrl: LISTENER_TYPE, name: 'http' }, listenerMessage, toScopedListener(parts, scoped));
  const filter = { name: SHARD_FILTER, typed_config: shardFilter(phases, node.proofSecret) };
  const bootstrap = Buffer.from(canonicalJson(toLiveBootstrap(input.gateway)));
  const bootstrapSha256 = sha256Hex(bootstrap);
  const marker = sha256Hex(`${bootstrapSha256} ${listener.version}`);
  return {
    overlay: [
      listener,
      toResource({ typeUrl: EXTENSION_TYPE, name: SHARD_FILTER }, extensionMessage, filter),
      reservedScope(node.proofSecret, marker),
    ],
    bootstrap,
    bootstrapSha256,
    marker,
  };
}

const ads: AdsConfigSource = { ads: {}, resource_api_version: 'V3' };

/** The same for every node, gateway and table: a listener is replaced only when its address or its hardening changes. */
export const scoped: ScopedParts = {
  scoped_routes: {
    name: 'shards',
    scope_key_builder: { fragments: [{ header_value_extractor: { name: SHARD_HEADER, index: 0 } }] },
    rds_config_source: ads,
    scoped_rds: { scoped_rds_config_source: ads },
  },
  http_filters: [
    {
      name: SHARD_FILTER,
      config_discovery: { config_source: ads, type_urls: [SHARD_FILTER_TYPE] },
    },
    ...Array.from({ length: mostTransitions }, () => ({ name: ROUTE_METADATA, typed_config: transitionFilter })),
  ],
};

/** What stands before every mapping: the marker for who knows the secret, and 404 for all else under the reserved prefix. */
function reservedScope(proofSecret: string, marker: string): XdsResource {
  const host: VirtualHost = { name: 'any', domains: ['*'], routes: reservedRoutes(proofSecret, { releaseId: marker, body: marker }) };
  return toResource({ typeUrl: SCOPED_ROUTE_TYPE, name: RESERVED_SCOPE }, scopedRouteMessage, scopeOf(RESERVED_SCOPE, [host]));
}

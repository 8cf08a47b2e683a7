import { toAgentBootstrap } from '#features/gateway/gateway.envoy.js';
import type { GatewaySettings, ListenAddress } from '#features/gateway/gateway.js';
import { type ListenerParts, type ScopedParts, scopedConnection, toScopedListener } from '#features/gateway/listener.envoy.js';
import { misdirectedRoute, redirectRoute, reservedRoutes } from '#features/gateway/routes.envoy.js';
import { clientDetails, toTlsListener } from '#features/gateway/tls-listener.envoy.js';
import { streamIdleTimeoutMs } from '#features/mapping/mapping.envoy.js';
import type { AdsConfigSource } from '#platform/envoy/model/config-source.js';
import { SHARD_HEADER } from '#platform/envoy/model/reserved.js';
import type { Route } from '#platform/envoy/model/route.js';
import { extensionMessage, listenerMessage } from '#platform/envoy/wire/listener-messages.js';
import { scopedRouteMessage } from '#platform/envoy/wire/route-messages.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import { canonicalJson } from '#platform/kernel/json.js';
import { EXTENSION_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE, type XdsResource } from '#platform/xds/xds-resource.js';

import type { Phase } from './phase.js';
import { scopeOf } from './shard.js';
import {
  type Admission,
  MISDIRECTED_SCOPE,
  mostTransitions,
  REDIRECT_SCOPE,
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

/** Which secrets a TLS listener names; their content comes beside it. */
export interface ListenerSecrets {
  /** Names of secrets; the first is for names that none has. None: there is no TLS listener, since it would have no certificate. */
  readonly certificates: readonly string[];
  readonly tickets: boolean;
}

/** The resources of one node. Pure: equal inputs give equal bytes. */
export function nodeResources(input: {
  readonly gateway: string;
  readonly settings: Pick<GatewaySettings, 'http' | 'https' | 'tls' | 'idleTimeoutMs'>;
  readonly secrets: ListenerSecrets;
  /** See Admission. */
  readonly principals: readonly string[] | null;
  readonly node: { readonly http: ListenAddress | null; readonly https: ListenAddress | null; readonly proofSecret: string };
  readonly phases: readonly Phase[];
}): NodeResources {
  const { settings, secrets, principals, node, phases } = input;
  const https = node.https ?? settings.https;
  const parts = { http: node.http ?? settings.http, settings, streamIdleTimeoutMs };
  const listener = toResource({ typeUrl: LISTENER_TYPE, name: 'http' }, listenerMessage, toScopedListener(parts, scoped));
  const { redirectHttp, clientCertificates } = settings.tls;
  const admission: Admission = { redirect: redirectHttp, demanded: clientCertificates?.hosts ?? [], principals };
  const filter = { name: SHARD_FILTER, typed_config: shardFilter(phases, node.proofSecret, admission) };
  const bootstrap = Buffer.from(canonicalJson(toAgentBootstrap(input.gateway)));
  const bootstrapSha256 = sha256Hex(bootstrap);
  const marker = sha256Hex(`${bootstrapSha256} ${listener.version}`);
  return {
    overlay: [
      listener,
      ...(https === null || secrets.certificates.length === 0 ? [] : [tlsListener(https, parts, settings.tls, secrets)]),
      toResource({ typeUrl: EXTENSION_TYPE, name: SHARD_FILTER }, extensionMessage, filter),
      scope(RESERVED_SCOPE, reservedRoutes(node.proofSecret, { releaseId: marker, body: marker })),
      ...(admission.redirect ? [scope(REDIRECT_SCOPE, [redirectRoute(settings.tls.redirectPort ?? https?.port ?? 443)])] : []),
      ...(admission.demanded.length > 0 ? [scope(MISDIRECTED_SCOPE, [misdirectedRoute])] : []),
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

/** The listener with TLS, its secrets from the stream that it comes over itself. */
function tlsListener(at: ListenAddress, parts: ListenerParts, policy: GatewaySettings['tls'], secrets: ListenerSecrets): XdsResource {
  const listener = toTlsListener(at, { policy, ...secrets, source: () => ads }, (kind) => ({
    ...scopedConnection(parts, scoped),
    ...clientDetails(policy, kind),
  }));
  return toResource({ typeUrl: LISTENER_TYPE, name: 'https' }, listenerMessage, listener);
}

/** A scope of the gateway's own. That of the reserved paths stands before every mapping: the marker for who knows the secret, and 404 for all else. */
function scope(key: string, routes: readonly Route[]): XdsResource {
  return toResource({ typeUrl: SCOPED_ROUTE_TYPE, name: key }, scopedRouteMessage, scopeOf(key, [{ name: 'any', domains: ['*'], routes }]));
}

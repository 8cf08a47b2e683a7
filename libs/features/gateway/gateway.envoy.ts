import type { Bootstrap, BootstrapFrame, HttpConnectionManager, Listener, LiveBootstrap } from '#platform/envoy/model/bootstrap.js';
import type { Cluster } from '#platform/envoy/model/cluster.js';
import type { PathConfigSource } from '#platform/envoy/model/config-source.js';
import { ADMIN_SOCKET, ADS_CLUSTER, ADS_SOCKET, MARKER_PATH, NO_CLUSTER } from '#platform/envoy/model/reserved.js';
import type { Route, VirtualHost } from '#platform/envoy/model/route.js';
import type { StandingSecret } from '#platform/envoy/model/tls.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { type GatewaySettings, settingsOf } from './gateway.js';
import { statPrefix } from './listener.envoy.js';
import { type Marker, markerRoute, markerRouteName } from './routes.envoy.js';
import { type StaticListenerParts, toStaticListeners } from './static-listeners.envoy.js';

/** The settings out of the log, as they are translated: what an older version did not know has its default. */
export function gatewaySettingsOf(state: JsonObject): GatewaySettings {
  return settingsOf(state);
}

/** The same bootstrap with the marker filled in. Everything that is not a marker route is shared, not copied. */
export function withMarker(bootstrap: Bootstrap, marker: Marker): Bootstrap {
  const filled = new Map<Route, Route>();
  const fill = (route: Route): Route => {
    const secret = route.match.headers?.[0]?.string_match.exact;
    if (route.name !== markerRouteName || route.match.path !== MARKER_PATH || secret === undefined) return route;
    const made = filled.get(route) ?? markerRoute(secret, marker);
    filled.set(route, made);
    return made;
  };
  const inHost = (host: VirtualHost): VirtualHost => ({ ...host, routes: host.routes.map(fill) });
  const inManager = (manager: HttpConnectionManager): HttpConnectionManager => ({
    ...manager,
    route_config: { ...manager.route_config, virtual_hosts: manager.route_config.virtual_hosts.map(inHost) },
  });
  const inListener = (listener: Listener): Listener => ({
    ...listener,
    filter_chains: listener.filter_chains.map((chain) => ({
      ...chain,
      filters: chain.filters.map((filter) => ({ ...filter, typed_config: inManager(filter.typed_config) })),
    })),
  });
  const { listeners } = bootstrap.static_resources;
  return { ...bootstrap, static_resources: { ...bootstrap.static_resources, listeners: listeners.map(inListener) } };
}

/** The parts that a bootstrap is made of. */
export interface BootstrapParts extends Omit<StaticListenerParts, 'validateClusters'> {
  readonly gateway: string;
  readonly clusters: readonly Cluster[];
  /** A watched file with more clusters, or null. */
  readonly clusterFile: PathConfigSource | null;
  /** Those that no file is watched for. */
  readonly secrets: readonly StandingSecret[];
}

/** A fully static bootstrap, hardened as Envoy's own page on edge proxies asks. */
export function toBootstrap(parts: BootstrapParts): Bootstrap {
  const { gateway, clusters, clusterFile, secrets } = parts;
  return {
    ...frame(gateway),
    static_resources: {
      listeners: toStaticListeners({ ...parts, validateClusters: clusterFile === null }),
      clusters,
      ...(secrets.length === 0 ? {} : { secrets }),
    },
    ...(clusterFile === null ? {} : { dynamic_resources: { cds_config: clusterFile } }),
  };
}

/** A bootstrap that has everything that may change from the stream on the node's Unix socket. */
export function toLiveBootstrap(gateway: string): LiveBootstrap {
  const ads = { ads: {}, resource_api_version: 'V3' } as const;
  return {
    ...frame(gateway),
    static_resources: {
      clusters: [
        {
          name: ADS_CLUSTER,
          type: 'STATIC',
          connect_timeout: '1s',
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          load_assignment: {
            cluster_name: ADS_CLUSTER,
            endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: ADS_SOCKET } } } }] }],
          },
        },
        { name: NO_CLUSTER, type: 'STATIC', connect_timeout: '1s', load_assignment: { cluster_name: NO_CLUSTER, endpoints: [] } },
      ],
    },
    dynamic_resources: {
      ads_config: {
        api_type: 'DELTA_GRPC',
        transport_api_version: 'V3',
        grpc_services: [{ envoy_grpc: { cluster_name: ADS_CLUSTER } }],
        // Envoy names all of its extensions with its node: 60 KB, which it would send with each acknowledgement.
        set_node_on_first_message_only: true,
      },
      cds_config: ads,
      lds_config: ads,
    },
    // Whatever Envoy counts per route table and not per mapping: with thousands of shards that would be most of its counters.
    stats_config: {
      stats_matcher: {
        exclusion_list: { patterns: [{ prefix: `http.${statPrefix}.rds.` }, { prefix: `http.${statPrefix}.scoped_rds.` }] },
      },
    },
  };
}

/** The same for an Envoy with an agent, which is on the same machine and back in a moment: Envoy would wait up to 30 s before it dials again. */
export function toAgentBootstrap(gateway: string): LiveBootstrap {
  const live = toLiveBootstrap(gateway);
  const { ads_config } = live.dynamic_resources;
  const retry_policy = { retry_back_off: { base_interval: '0.100s', max_interval: '1s' } };
  const grpc_services = ads_config.grpc_services.map(({ envoy_grpc }) => ({ envoy_grpc: { ...envoy_grpc, retry_policy } }));
  return { ...live, dynamic_resources: { ...live.dynamic_resources, ads_config: { ...ads_config, grpc_services } } };
}

function frame(gateway: string): BootstrapFrame {
  return {
    node: { id: gateway, cluster: gateway },
    admin: { address: { pipe: { path: ADMIN_SOCKET, mode: 0o600 } } },
    // A hot restart hands the child what was counted since the last flush: flushed whenever the agent reads, nothing is counted twice.
    stats_flush_on_admin: true,
    layered_runtime: { layers: [{ name: 'chancery', static_layer: { 're2.max_program_size.error_level': 100 } }] },
    overload_manager: {
      resource_monitors: [
        {
          name: 'envoy.resource_monitors.global_downstream_max_connections',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig',
            max_active_downstream_connections: 50_000,
          },
        },
      ],
    },
  };
}

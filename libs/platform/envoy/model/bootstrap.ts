import type { Cluster, PipeAddress, SocketAddress } from './cluster.js';
import type { AdsConfigSource, ConfigSource, PathConfigSource } from './config-source.js';
import type { RouteConfiguration, ScopedRouteConfiguration } from './route.js';
import type { DownstreamTlsContext, StandingSecret } from './tls.js';

/** Envoy's bootstrap in protobuf JSON, as far as Chancery writes it (envoy.config.bootstrap.v3 and what it holds). */

export interface Router {
  readonly name: 'envoy.filters.http.router';
  readonly typed_config: { readonly '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' };
}

export interface LuaFilter {
  readonly '@type': 'type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua';
  readonly default_source_code: { readonly inline_string: string };
}

interface RequestHeaderInput {
  readonly name: string;
  readonly typed_config: {
    readonly '@type': 'type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput';
    readonly header_name: string;
  };
}

interface SkipFilter {
  readonly name: string;
  readonly typed_config: { readonly '@type': 'type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter' };
}

/** A filter that is skipped for some requests: that costs a sixth of a Lua script which finds nothing to do. */
export interface ExtensionWithMatcher {
  readonly '@type': 'type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher';
  readonly extension_config: TypedExtensionConfig;
  readonly xds_matcher: {
    readonly matcher_list: {
      readonly matchers: readonly {
        readonly predicate: {
          readonly not_matcher: {
            readonly single_predicate: { readonly input: RequestHeaderInput; readonly value_match: { readonly contains: string } };
          };
        };
        readonly on_match: { readonly action: SkipFilter };
      }[];
    };
  };
}

/** A Lua filter that stands in the listener. */
export interface StandingFilter {
  readonly name: string;
  readonly typed_config: ExtensionWithMatcher;
}

/** A filter whose configuration comes by ECDS: the resource has this name. */
export interface DiscoveredFilter {
  readonly name: string;
  readonly config_discovery: { readonly config_source: ConfigSource; readonly type_urls: readonly string[] };
}

/** What ECDS delivers. */
export interface TypedExtensionConfig {
  readonly name: string;
  readonly typed_config: LuaFilter;
}

/** Routes by scope: the value of a request header is the key of the scope whose routes are taken. */
export interface ScopedRoutes {
  readonly name: string;
  readonly scope_key_builder: {
    readonly fragments: readonly { readonly header_value_extractor: { readonly name: string; readonly index: number } }[];
  };
  readonly rds_config_source: ConfigSource;
  /** Exactly one of the two. */
  readonly scoped_rds?: { readonly scoped_rds_config_source: ConfigSource };
  readonly scoped_route_configurations_list?: { readonly scoped_route_configurations: readonly ScopedRouteConfiguration[] };
}

/** What every connection manager says alike, wherever its routes come from. */
export interface ManagerHardening {
  readonly '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
  readonly stat_prefix: string;
  readonly codec_type: 'AUTO';
  readonly use_remote_address: true;
  readonly internal_address_config: { readonly unix_sockets: false; readonly cidr_ranges: readonly [] };
  readonly normalize_path: true;
  readonly merge_slashes: true;
  readonly path_with_escaped_slashes_action: 'REJECT_REQUEST';
  readonly strip_any_host_port: true;
  readonly strip_trailing_host_dot: true;
  readonly common_http_protocol_options: {
    readonly idle_timeout: string;
    readonly headers_with_underscores_action: 'REJECT_REQUEST';
    readonly max_headers_count: number;
  };
  readonly http2_protocol_options: {
    readonly max_concurrent_streams: number;
    readonly initial_stream_window_size: number;
    readonly initial_connection_window_size: number;
  };
  readonly max_request_headers_kb: number;
  readonly request_headers_timeout: string;
  readonly stream_idle_timeout: string;
  readonly drain_timeout: string;
  readonly upgrade_configs: readonly { readonly upgrade_type: 'websocket' }[];
  /** What a service is told of the client's certificate; without it nothing, and what clients say of themselves is removed in any case. */
  readonly forward_client_cert_details?: 'SANITIZE_SET';
  readonly set_current_client_cert_details?: { readonly subject: boolean; readonly dns: boolean; readonly uri: boolean };
}

/** With its routes within it. */
export interface HttpConnectionManager extends ManagerHardening {
  readonly route_config: RouteConfiguration;
  readonly http_filters: readonly (Router | DiscoveredFilter)[];
}

/** With its routes in scopes, which filters before the router choose. */
export interface ScopedConnectionManager extends ManagerHardening {
  readonly scoped_routes: ScopedRoutes;
  readonly http_filters: readonly (Router | StandingFilter | DiscoveredFilter)[];
}

export interface Listener<Manager = HttpConnectionManager> {
  readonly name: string;
  readonly address: SocketAddress;
  readonly per_connection_buffer_limit_bytes: number;
  readonly tcp_backlog_size: number;
  /** Reads the name that a client asks for, before a chain is chosen. */
  readonly listener_filters?: readonly {
    readonly name: 'envoy.filters.listener.tls_inspector';
    readonly typed_config: { readonly '@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector' };
  }[];
  readonly filter_chains: readonly FilterChain<Manager>[];
}

export interface FilterChain<Manager = HttpConnectionManager> {
  readonly name?: string;
  /** Names that clients ask for, exact or `*.suffix`; without it the chain is everybody's who has no other. */
  readonly filter_chain_match?: { readonly server_names: readonly string[] };
  readonly filters: readonly {
    readonly name: 'envoy.filters.network.http_connection_manager';
    readonly typed_config: Manager;
  }[];
  readonly transport_socket?: { readonly name: 'envoy.transport_sockets.tls'; readonly typed_config: DownstreamTlsContext };
}

interface OverloadManager {
  readonly resource_monitors: readonly {
    readonly name: 'envoy.resource_monitors.global_downstream_max_connections';
    readonly typed_config: {
      readonly '@type': 'type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig';
      readonly max_active_downstream_connections: number;
    };
  }[];
}

/** What Envoy is started with, however its configuration comes. */
export interface BootstrapFrame {
  readonly node: { readonly id: string; readonly cluster: string };
  readonly admin: { readonly address: { readonly pipe: { readonly path: string; readonly mode: number } } };
  readonly stats_flush_on_admin: true;
  readonly layered_runtime: {
    readonly layers: readonly { readonly name: string; readonly static_layer: Readonly<Record<string, number | boolean>> }[];
  };
  readonly overload_manager: OverloadManager;
}

/** Everything stands in it, or in files that it names. */
export interface Bootstrap extends BootstrapFrame {
  readonly static_resources: {
    readonly listeners: readonly Listener[];
    readonly clusters: readonly Cluster[];
    readonly secrets?: readonly StandingSecret[];
  };
  readonly dynamic_resources?: { readonly cds_config: PathConfigSource };
}

interface StandingCluster {
  readonly name: string;
  readonly type: 'STATIC';
  readonly connect_timeout: string;
  readonly typed_extension_protocol_options?: Readonly<
    Record<
      string,
      {
        readonly '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
        readonly explicit_http_config: { readonly http2_protocol_options: object };
      }
    >
  >;
  readonly load_assignment: {
    readonly cluster_name: string;
    readonly endpoints: readonly { readonly lb_endpoints: readonly { readonly endpoint: { readonly address: PipeAddress } }[] }[];
  };
}

/** Everything comes over one stream on a Unix socket. */
export interface LiveBootstrap extends BootstrapFrame {
  readonly static_resources: { readonly clusters: readonly StandingCluster[] };
  readonly dynamic_resources: {
    readonly ads_config: {
      readonly api_type: 'DELTA_GRPC';
      readonly transport_api_version: 'V3';
      readonly set_node_on_first_message_only: true;
      readonly grpc_services: readonly {
        readonly envoy_grpc: {
          readonly cluster_name: string;
          readonly retry_policy?: { readonly retry_back_off: { readonly base_interval: string; readonly max_interval: string } };
        };
      }[];
    };
    readonly cds_config: AdsConfigSource;
    readonly lds_config: AdsConfigSource;
  };
  readonly stats_config: {
    readonly stats_matcher: { readonly exclusion_list: { readonly patterns: readonly { readonly prefix: string }[] } };
  };
}

import type { Cluster, PathConfigSource, SocketAddress } from './cluster.js';
import type { RouteConfiguration } from './route.js';

/** Envoy's bootstrap in protobuf JSON, as far as Chancery writes it (envoy.config.bootstrap.v3 and what it holds). */

interface Router {
  readonly name: 'envoy.filters.http.router';
  readonly typed_config: { readonly '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' };
}

export interface HttpConnectionManager {
  readonly '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
  readonly stat_prefix: string;
  readonly codec_type: 'AUTO';
  readonly route_config: RouteConfiguration;
  readonly http_filters: readonly [Router];
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
}

export interface Listener {
  readonly name: string;
  readonly address: SocketAddress;
  readonly per_connection_buffer_limit_bytes: number;
  readonly tcp_backlog_size: number;
  readonly filter_chains: readonly {
    readonly filters: readonly {
      readonly name: 'envoy.filters.network.http_connection_manager';
      readonly typed_config: HttpConnectionManager;
    }[];
  }[];
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

export interface Bootstrap {
  readonly node: { readonly id: string; readonly cluster: string };
  readonly admin: { readonly address: { readonly pipe: { readonly path: string; readonly mode: number } } };
  readonly stats_flush_on_admin: true;
  readonly static_resources: { readonly listeners: readonly Listener[]; readonly clusters: readonly Cluster[] };
  readonly dynamic_resources?: { readonly cds_config: PathConfigSource };
  readonly layered_runtime: {
    readonly layers: readonly { readonly name: string; readonly static_layer: Readonly<Record<string, number | boolean>> }[];
  };
  readonly overload_manager: OverloadManager;
}

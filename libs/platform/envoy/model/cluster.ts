import type { ConfigSource } from './config-source.js';
import type { Secret, UpstreamTlsContext } from './tls.js';

/** Envoy's cluster and endpoint messages in protobuf JSON, as far as Chancery writes them (envoy.config.{cluster,endpoint}.v3). */

export interface SocketAddress {
  readonly socket_address: { readonly address: string; readonly port_value: number };
}

/** A Unix socket. */
export interface PipeAddress {
  readonly pipe: { readonly path: string; readonly mode?: number };
}

export interface HttpProtocolOptions {
  readonly '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
  readonly common_http_protocol_options: { readonly idle_timeout: string };
  readonly explicit_http_config: { readonly http_protocol_options: Record<string, never> };
}

export interface Thresholds {
  readonly priority: 'DEFAULT';
  readonly max_connections: number;
  readonly max_pending_requests: number;
  readonly max_requests: number;
  readonly max_retries: number;
}

/** A cluster has its endpoints from elsewhere (EDS) or within it (STATIC). */
export interface Cluster {
  readonly '@type'?: 'type.googleapis.com/envoy.config.cluster.v3.Cluster';
  readonly name: string;
  readonly type: 'EDS' | 'STATIC';
  readonly connect_timeout: string;
  readonly per_connection_buffer_limit_bytes: number;
  readonly eds_cluster_config?: { readonly eds_config: ConfigSource };
  readonly load_assignment?: ClusterLoadAssignment;
  readonly circuit_breakers: { readonly thresholds: readonly Thresholds[] };
  readonly typed_extension_protocol_options: { readonly 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': HttpProtocolOptions };
  readonly transport_socket?: { readonly name: 'envoy.transport_sockets.tls'; readonly typed_config: UpstreamTlsContext };
}

export interface ClusterLoadAssignment {
  readonly '@type'?: 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment';
  readonly cluster_name: string;
  readonly endpoints: readonly { readonly lb_endpoints: readonly { readonly endpoint: { readonly address: SocketAddress } }[] }[];
}

/** What a watched file holds. */
/** What a filter by ECDS is, in a file. */
export interface DiscoveredExtension {
  readonly '@type': 'type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig';
  readonly name: string;
  readonly typed_config: { readonly '@type': string; readonly default_source_code: { readonly inline_string: string } };
}

export interface DiscoveryResponse {
  readonly version_info: string;
  readonly resources: readonly (ClusterLoadAssignment | Cluster | Secret | DiscoveredExtension)[];
}

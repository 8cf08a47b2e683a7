/** Envoy's cluster and endpoint messages in protobuf JSON, as far as Chancery writes them (envoy.config.{cluster,endpoint}.v3). */

export interface SocketAddress {
  readonly socket_address: { readonly address: string; readonly port_value: number };
}

/** A Unix socket. */
export interface PipeAddress {
  readonly pipe: { readonly path: string; readonly mode?: number };
}

export interface PathConfigSource {
  readonly path_config_source: { readonly path: string };
  readonly resource_api_version: 'V3';
}

/** The stream over which Envoy gets everything that changes. */
export interface AdsConfigSource {
  readonly ads: Record<string, never>;
  readonly resource_api_version: 'V3';
}

export type ConfigSource = PathConfigSource | AdsConfigSource;

export interface UpstreamTlsContext {
  readonly '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext';
  readonly sni?: string;
  readonly common_tls_context: {
    readonly tls_params: { readonly tls_minimum_protocol_version: 'TLSv1_2' };
    readonly combined_validation_context: {
      readonly default_validation_context: {
        readonly match_typed_subject_alt_names: readonly {
          readonly san_type: 'DNS' | 'IP_ADDRESS';
          readonly matcher: { readonly exact: string };
        }[];
      };
      readonly validation_context_sds_secret_config: { readonly name: string; readonly sds_config: ConfigSource };
    };
  };
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

export interface Secret {
  readonly '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';
  readonly name: string;
  readonly validation_context: { readonly trusted_ca: { readonly inline_string: string } };
}

/** What a watched file holds. */
export interface DiscoveryResponse {
  readonly version_info: string;
  readonly resources: readonly (ClusterLoadAssignment | Cluster | Secret)[];
}

import type { Listener, ManagerHardening, ScopedConnectionManager } from '#platform/envoy/model/bootstrap.js';
import { duration } from '#platform/envoy/model/envoy-text.js';

import type { GatewaySettings, ListenAddress } from './gateway.js';

/** What every listener of a gateway has alike. */
export interface ListenerParts {
  readonly settings: Pick<GatewaySettings, 'idleTimeoutMs'>;
  readonly streamIdleTimeoutMs: number;
}

/** Of every listener: what is counted is counted for the gateway. */
export const statPrefix = 'ingress_http';

export const router = {
  name: 'envoy.filters.http.router',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
} as const;

/** Where the routes of a listener come from when they are not within it, and the filters that choose among them. */
export type ScopedParts = Pick<ScopedConnectionManager, 'scoped_routes' | 'http_filters'>;

/** A listener whose routes come in scopes. It is hardened as the static one is. `filters` go before the router. */
export function toScopedListener(
  parts: ListenerParts & { readonly http: ListenAddress },
  { scoped_routes, http_filters }: ScopedParts,
): Listener<ScopedConnectionManager> {
  return toListener('http', parts.http, scopedConnection(parts, { scoped_routes, http_filters }));
}

/** The connection manager of such a listener. */
export function scopedConnection(parts: ListenerParts, { scoped_routes, http_filters }: ScopedParts): ScopedConnectionManager {
  return { ...hardened(parts), scoped_routes, http_filters: [...http_filters, router] };
}

export function toListener<Manager>(name: string, at: ListenAddress, manager: Manager): Listener<Manager> {
  return {
    name,
    address: { socket_address: { address: at.address, port_value: at.port } },
    per_connection_buffer_limit_bytes: 32_768,
    tcp_backlog_size: 4096,
    filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] }],
  };
}

/** The hardening of Envoy's own page on edge proxies, the same wherever the routes come from. */
export function hardened(parts: ListenerParts): ManagerHardening {
  return {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: statPrefix,
    codec_type: 'AUTO',
    use_remote_address: true,
    // Nobody is internal: x-envoy-* headers of clients are removed wherever they connect from.
    internal_address_config: { unix_sockets: false, cidr_ranges: [] },
    normalize_path: true,
    merge_slashes: true,
    path_with_escaped_slashes_action: 'REJECT_REQUEST',
    strip_any_host_port: true,
    strip_trailing_host_dot: true,
    common_http_protocol_options: {
      idle_timeout: duration(parts.settings.idleTimeoutMs),
      headers_with_underscores_action: 'REJECT_REQUEST',
      max_headers_count: 100,
    },
    http2_protocol_options: { max_concurrent_streams: 100, initial_stream_window_size: 65_536, initial_connection_window_size: 1_048_576 },
    max_request_headers_kb: 60,
    request_headers_timeout: '10s',
    stream_idle_timeout: duration(parts.streamIdleTimeoutMs),
    // HTTP/2 clients hear "no new streams" this long before the connection is closed.
    drain_timeout: '1s',
    upgrade_configs: [{ upgrade_type: 'websocket' }],
  };
}

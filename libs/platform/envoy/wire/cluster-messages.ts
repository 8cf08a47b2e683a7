import type { Cluster, ClusterLoadAssignment, HttpProtocolOptions, SocketAddress, Thresholds } from '../model/cluster.js';
import { configSource } from './config-source.js';
import { any, anyMap, choice, chosenScalar, duration, many, message, one, text, wrapped } from './message-fields.js';
import { upstreamTls } from './tls-messages.js';

/* Field numbers of envoy.config.{cluster,endpoint,core}.v3 and of the extensions that clusters use. */

const nothing = message<Record<never, never>>({});

export const socketAddress = message<SocketAddress>({
  socket_address: one(1, message<SocketAddress['socket_address']>({ address: text(2), port_value: chosenScalar(3) })),
});

type Locality = ClusterLoadAssignment['endpoints'][number];
type Instance = Locality['lb_endpoints'][number];

/** envoy.config.endpoint.v3.ClusterLoadAssignment */
export const loadAssignmentMessage = message<ClusterLoadAssignment>({
  cluster_name: text(1),
  endpoints: many(
    2,
    message<Locality>({
      lb_endpoints: many(2, message<Instance>({ endpoint: one(1, message<Instance['endpoint']>({ address: one(1, socketAddress) })) })),
    }),
  ),
});

const thresholds = message<Thresholds>({
  priority: choice(1, { DEFAULT: 0 }),
  max_connections: wrapped(2),
  max_pending_requests: wrapped(3),
  max_requests: wrapped(4),
  max_retries: wrapped(5),
});

const upstreamOptions = message<HttpProtocolOptions>({
  common_http_protocol_options: one(1, message<HttpProtocolOptions['common_http_protocol_options']>({ idle_timeout: duration(1) })),
  explicit_http_config: one(3, message<HttpProtocolOptions['explicit_http_config']>({ http_protocol_options: one(1, nothing) })),
});

/** envoy.config.cluster.v3.Cluster */
export const clusterMessage = message<Cluster>({
  name: text(1),
  type: choice(2, { STATIC: 0, EDS: 3 }),
  eds_cluster_config: one(3, message<NonNullable<Cluster['eds_cluster_config']>>({ eds_config: one(1, configSource) })),
  connect_timeout: duration(4),
  per_connection_buffer_limit_bytes: wrapped(5),
  circuit_breakers: one(10, message<Cluster['circuit_breakers']>({ thresholds: many(1, thresholds) })),
  transport_socket: one(
    24,
    message<NonNullable<Cluster['transport_socket']>>({
      name: text(1),
      typed_config: any(3, { 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext': upstreamTls }),
    }),
  ),
  load_assignment: one(33, loadAssignmentMessage),
  typed_extension_protocol_options: anyMap(36, {
    'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions': upstreamOptions,
  }),
});

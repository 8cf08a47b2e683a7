import type {
  Cluster,
  ClusterLoadAssignment,
  ConfigSource,
  HttpProtocolOptions,
  Secret,
  SocketAddress,
  Thresholds,
  UpstreamTlsContext,
} from '../model/cluster.js';
import { any, anyMap, choice, chosenScalar, chosenText, duration, many, message, one, text, wrapped } from './message-fields.js';

/* Field numbers of envoy.config.{cluster,endpoint,core}.v3 and of the extensions that clusters use. */

const nothing = message<Record<never, never>>({});

export const configSource = message<ConfigSource>({
  ads: one(3, nothing),
  resource_api_version: choice(6, { V3: 2 }),
  path_config_source: one(8, message<{ readonly path: string }>({ path: text(1) })),
});

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

type CommonTls = UpstreamTlsContext['common_tls_context'];
type Validation = CommonTls['combined_validation_context'];
type SubjectName = Validation['default_validation_context']['match_typed_subject_alt_names'][number];

const sdsSecret = message<Validation['validation_context_sds_secret_config']>({ name: text(1), sds_config: one(2, configSource) });

const subjectName = message<SubjectName>({
  san_type: choice(1, { DNS: 2, IP_ADDRESS: 4 }),
  matcher: one(2, message<SubjectName['matcher']>({ exact: chosenText(1) })),
});

const upstreamTls = message<UpstreamTlsContext>({
  common_tls_context: one(
    1,
    message<CommonTls>({
      tls_params: one(1, message<CommonTls['tls_params']>({ tls_minimum_protocol_version: choice(1, { TLSv1_2: 3 }) })),
      combined_validation_context: one(
        8,
        message<Validation>({
          default_validation_context: one(
            1,
            message<Validation['default_validation_context']>({ match_typed_subject_alt_names: many(15, subjectName) }),
          ),
          validation_context_sds_secret_config: one(2, sdsSecret),
        }),
      ),
    }),
  ),
  sni: text(2),
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

/** envoy.extensions.transport_sockets.tls.v3.Secret */
export const secretMessage = message<Secret>({
  name: text(1),
  validation_context: one(
    4,
    message<Secret['validation_context']>({
      trusted_ca: one(1, message<Secret['validation_context']['trusted_ca']>({ inline_string: chosenText(3) })),
    }),
  ),
});

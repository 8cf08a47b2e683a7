import { certificateSecretName, secretConfig } from '#features/gateway/tls-secrets.envoy.js';
import type { Cluster, ClusterLoadAssignment } from '#platform/envoy/model/cluster.js';
import type { ConfigSource, PathConfigSource } from '#platform/envoy/model/config-source.js';
import { statToken } from '#platform/envoy/model/envoy-text.js';
import { endpointFile } from '#platform/envoy/model/reserved.js';
import type { UpstreamTlsContext, ValidationSecret } from '#platform/envoy/model/tls.js';
import { addressFault } from '#platform/envoy/model/upstream-address.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import { canonicalJson } from '#platform/kernel/json.js';

import type { Upstream } from './upstream-tls.js';

/** The name of an upstream's cluster: readable, one per upstream, fit for a file name and for statistics. */
export function clusterName(service: Upstream): string {
  const name = `${service.scheme}-${statToken(service.name)}-${service.port}`;
  return service.tls === undefined ? name : `${name}-${sha256Hex(canonicalJson({ ...service.tls })).slice(0, 12)}`;
}

/** The name of the secret that an https upstream is checked against. */
export function trustName({ tls }: Upstream): string {
  return tls === undefined || tls.caBundle === null ? upstreamTrust : `${upstreamTrust}-${sha256Hex(tls.caBundle).slice(0, 16)}`;
}

/** The name of the secret, and of the watched file, with the authorities that https upstreams are checked against. */
export const upstreamTrust = 'upstream-trust';

/**
 * Up to here each upstream's endpoints are a file of their own (EDS), and a change of them touches nothing else. Above,
 * all clusters stand in one file (CDS): Envoy opens an inotify instance for every file that it watches and aborts when
 * there are no more; Linux allows 128 to a user by default, and up to three Envoys run beside each other while a change
 * goes live. In one file a change of endpoints closes the kept connections to that upstream, politely.
 */
export const mostWatchedClusters = 20;

/** Where a secret that a cluster names comes from; undefined for one that stands in the bootstrap. */
type SecretSource = (secret: string) => ConfigSource | undefined;

/** The cluster of one upstream with its endpoints in a watched file. Mappings with one upstream share it. */
export function watchedCluster(name: string, service: Upstream, source: SecretSource): Cluster {
  return { ...toCluster(name, service, source), type: 'EDS', eds_cluster_config: { eds_config: watched(name) } };
}

/** The cluster of one upstream with its endpoints, and what it is trusted by, from the stream that it came over itself. */
export function streamedCluster(name: string, service: Upstream): Cluster {
  return { ...toCluster(name, service, () => ads), type: 'EDS', eds_cluster_config: { eds_config: ads } };
}

const ads: ConfigSource = { ads: {}, resource_api_version: 'V3' };

interface InlineParts {
  readonly assignment: ClusterLoadAssignment;
  readonly source: SecretSource;
}

/** The cluster of one upstream with its endpoints within it, as an entry of a file of clusters. */
export function inlineCluster(name: string, service: Upstream, { assignment, source }: InlineParts): Cluster {
  return {
    '@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster',
    ...toCluster(name, service, source),
    type: 'STATIC',
    load_assignment: assignment,
  };
}

function toCluster(name: string, service: Upstream, source: SecretSource): Omit<Cluster, 'type'> {
  return {
    name,
    connect_timeout: '2s',
    per_connection_buffer_limit_bytes: 32_768,
    // Envoy's default of 1024 answers 503 to a burst that an ordinary service would take.
    circuit_breakers: {
      thresholds: [{ priority: 'DEFAULT', max_connections: 10_000, max_pending_requests: 10_000, max_requests: 10_000, max_retries: 100 }],
    },
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
        // Below the 5 s after which Node's and many other servers close: a request must not meet a closing connection.
        common_http_protocol_options: { idle_timeout: '4s' },
        explicit_http_config: { http_protocol_options: {} },
      },
    },
    ...(service.scheme === 'https'
      ? { transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: toTls(service, source) } as const }
      : {}),
  };
}

/** An https upstream is verified: its chain against the public authorities, its name against the service's. Never unverified. */
function toTls(service: Upstream, source: SecretSource): UpstreamTlsContext {
  const { sni = null, certificate = null } = service.tls ?? {};
  const literal = service.ipVersion !== 0 && sni === null;
  const name = sni ?? service.name;
  const own = certificate === null ? undefined : certificateSecretName(certificate);
  return {
    '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
    ...(literal ? {} : { sni: name }),
    common_tls_context: {
      tls_params: { tls_minimum_protocol_version: 'TLSv1_2' },
      ...(own === undefined ? {} : { tls_certificate_sds_secret_configs: [secretConfig(own, source(own))] }),
      combined_validation_context: {
        default_validation_context: {
          match_typed_subject_alt_names: [{ san_type: literal ? 'IP_ADDRESS' : 'DNS', matcher: { exact: name } }],
        },
        validation_context_sds_secret_config: secretConfig(trustName(service), source(trustName(service))),
      },
    },
  };
}

/** A file in the node's folder that Envoy watches. */
export function watched(name: string): PathConfigSource {
  return { path_config_source: { path: endpointFile(name) }, resource_api_version: 'V3' };
}

/** One instance of a service: an IP literal and a port. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/**
 * What discovery found, less what no service may be: a name can be made to resolve to the metadata service after the
 * mapping was accepted. Sorted, so that the order of discovery does not show.
 */
export function reachable(endpoints: readonly Endpoint[], allowLoopback: boolean): Endpoint[] {
  const allowed = endpoints.filter(({ address, port }) => {
    const isPort = Number.isInteger(port) && port >= 1 && port <= 65_535;
    return isPort && addressFault(address, { allowLoopback }) === undefined;
  });
  const byText = new Map(allowed.map(({ address, port }) => [`${address} ${port}`, { address, port }]));
  return [...byText].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, endpoint]) => endpoint);
}

/** The endpoints of a cluster, which may be none. */
export function assignment(cluster: string, endpoints: readonly Endpoint[]): ClusterLoadAssignment {
  const instances = endpoints.map(({ address, port }) => ({ endpoint: { address: { socket_address: { address, port_value: port } } } }));
  return { cluster_name: cluster, endpoints: instances.length === 0 ? [] : [{ lb_endpoints: instances }] };
}

/** The secret by which https upstreams are checked: these authorities, PEM. */
export function trustSecret(authorities: readonly string[], name = upstreamTrust): ValidationSecret {
  return {
    '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
    name,
    validation_context: { trusted_ca: { inline_string: `${authorities.join('\n')}\n` } },
  };
}

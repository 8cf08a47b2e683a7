import type { FilterChain, Listener } from '#platform/envoy/model/bootstrap.js';
import type { ConfigSource } from '#platform/envoy/model/config-source.js';
import type { DownstreamTlsContext } from '#platform/envoy/model/tls.js';

import type { ListenAddress } from './gateway.js';
import { toListener } from './listener.envoy.js';
import type { TlsPolicy } from './tls-policy.js';
import { clientTrust, secretConfig, sessionTickets } from './tls-secrets.envoy.js';

/** What a TLS listener is made of. */
export interface TlsParts {
  readonly policy: TlsPolicy;
  /** Names of secrets. The first is for clients that ask for a name which none of them has. At least one. */
  readonly certificates: readonly string[];
  /** Are there keys for session tickets? Without them each Envoy makes its own, and no session outlives it. */
  readonly tickets: boolean;
  /** Where a secret comes from; undefined for one that stands in the bootstrap. Its bytes must not change: Envoy would begin to wait for the secret anew. */
  source(secret: string): ConfigSource | undefined;
}

/** Whose connections a chain takes: everybody's, or those of clients that must show a certificate. */
export type ChainKind = 'open' | 'clients';

/**
 * A listener with TLS. All certificates stand in each chain, and Envoy chooses by the name that the client asks for: the certificate that has it, then one
 * with a wildcard for it, then the first. So a certificate's bytes change without the listener, and a name that moves to another certificate changes no chain.
 * There is a second chain only where some hosts, and not all, are for clients with a certificate.
 */
export function toTlsListener<Manager>(at: ListenAddress, parts: TlsParts, managerOf: (kind: ChainKind) => Manager): Listener<Manager> {
  const { policy } = parts;
  const hosts = policy.clientCertificates?.hosts ?? [];
  const isForAll = hosts.includes('*');
  const chain = (kind: ChainKind, match: Pick<FilterChain, 'filter_chain_match'>): FilterChain<Manager> => ({
    name: kind,
    ...match,
    filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: managerOf(kind) }],
    transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: toDownstream(parts, kind) },
  });
  const chains = [
    ...(hosts.length === 0 ? [] : [chain('clients', isForAll ? {} : { filter_chain_match: { server_names: [...hosts].sort() } })]),
    ...(isForAll ? [] : [chain('open', {})]),
  ];
  return {
    ...toListener('https', at, managerOf('open')),
    listener_filters: [
      {
        name: 'envoy.filters.listener.tls_inspector',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector' },
      },
    ],
    filter_chains: chains,
  };
}

/** What a service behind this chain is told of its client; '' of members when that is nothing. */
export function clientDetails(policy: TlsPolicy, kind: ChainKind) {
  if (kind === 'open' || policy.clientCertificates?.forward !== true) return {};
  return {
    forward_client_cert_details: 'SANITIZE_SET',
    set_current_client_cert_details: { subject: true, dns: true, uri: true },
  } as const;
}

function toDownstream({ policy, certificates, tickets, source }: TlsParts, kind: ChainKind): DownstreamTlsContext {
  const secret = (name: string) => secretConfig(name, source(name));
  return {
    '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
    common_tls_context: {
      tls_params: {
        tls_minimum_protocol_version: policy.minimumVersion === '1.3' ? 'TLSv1_3' : 'TLSv1_2',
        cipher_suites: policy.ciphers,
      },
      alpn_protocols: policy.http2 ? ['h2', 'http/1.1'] : ['http/1.1'],
      tls_certificate_sds_secret_configs: certificates.map(secret),
      ...(kind === 'clients' ? { validation_context_sds_secret_config: secret(clientTrust) } : {}),
    },
    ...(kind === 'clients' ? { require_client_certificate: true } : {}),
    ...(tickets ? { session_ticket_keys_sds_secret_config: secret(sessionTickets) } : {}),
  };
}

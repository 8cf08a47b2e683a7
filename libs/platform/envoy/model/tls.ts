import type { ConfigSource } from './config-source.js';

/** Envoy's TLS messages in protobuf JSON, as far as Chancery writes them (envoy.extensions.transport_sockets.tls.v3). */

/** A secret by its name, and where it comes from: Envoy takes another one of that name without a change of who names it. */
export interface SdsSecretConfig {
  readonly name: string;
  /** Left out for one that stands in the bootstrap. */
  readonly sds_config?: ConfigSource;
}

export interface TlsParameters {
  readonly tls_minimum_protocol_version: 'TLSv1_2' | 'TLSv1_3';
  /** Of TLS 1.2; those of 1.3 are Envoy's. */
  readonly cipher_suites?: readonly string[];
}

interface SubjectName {
  readonly san_type: 'DNS' | 'IP_ADDRESS';
  readonly matcher: { readonly exact: string };
}

export interface UpstreamTlsContext {
  readonly '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext';
  readonly sni?: string;
  readonly common_tls_context: {
    readonly tls_params: TlsParameters;
    readonly tls_certificate_sds_secret_configs?: readonly SdsSecretConfig[];
    readonly combined_validation_context: {
      readonly default_validation_context: { readonly match_typed_subject_alt_names: readonly SubjectName[] };
      readonly validation_context_sds_secret_config: SdsSecretConfig;
    };
  };
}

export interface DownstreamTlsContext {
  readonly '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext';
  readonly common_tls_context: {
    readonly tls_params: TlsParameters;
    readonly alpn_protocols: readonly string[];
    /** Chosen among by the names in them; the first for a name that none of them has. */
    readonly tls_certificate_sds_secret_configs: readonly SdsSecretConfig[];
    readonly validation_context_sds_secret_config?: SdsSecretConfig;
  };
  readonly require_client_certificate?: true;
  readonly session_ticket_keys_sds_secret_config?: SdsSecretConfig;
}

interface InlineText {
  readonly inline_string: string;
}

/** A certificate with its key. */
export interface CertificateSecret {
  readonly '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';
  readonly name: string;
  readonly tls_certificate: { readonly certificate_chain: InlineText; readonly private_key: InlineText };
}

/** By what the other side's certificate is judged. */
export interface ValidationSecret {
  readonly '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';
  readonly name: string;
  readonly validation_context: {
    readonly trusted_ca?: InlineText;
    /** SHA-256 of certificates, hexadecimal: one of these and no other. */
    readonly verify_certificate_hash?: readonly string[];
  };
}

/** With what sessions are resumed: the first key seals new tickets, each opens what it has sealed. 80 bytes each, base64. */
export interface TicketKeySecret {
  readonly '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';
  readonly name: string;
  readonly session_ticket_keys: { readonly keys: readonly { readonly inline_bytes: string }[] };
}

/** A secret that the bootstrap holds: a certificate whose files Envoy reads once, or authorities that never change under their name. */
export type StandingSecret =
  | {
      readonly name: string;
      readonly tls_certificate: {
        readonly certificate_chain: { readonly filename: string };
        readonly private_key: { readonly filename: string };
      };
    }
  | Pick<ValidationSecret, 'name' | 'validation_context'>;

export type Secret = CertificateSecret | ValidationSecret | TicketKeySecret;

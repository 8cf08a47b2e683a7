import type {
  CertificateSecret,
  DownstreamTlsContext,
  SdsSecretConfig,
  Secret,
  TicketKeySecret,
  TlsParameters,
  UpstreamTlsContext,
  ValidationSecret,
} from '../model/tls.js';
import { configSource } from './config-source.js';
import { base64, choice, chosenText, many, message, one, text, texts, wrapped } from './message-fields.js';

/* Field numbers of envoy.extensions.transport_sockets.tls.v3. */

const parameters = message<TlsParameters>({
  tls_minimum_protocol_version: choice(1, { TLSv1_2: 3, TLSv1_3: 4 }),
  cipher_suites: texts(3),
});

const sdsSecret = message<SdsSecretConfig>({ name: text(1), sds_config: one(2, configSource) });

type UpstreamCommon = UpstreamTlsContext['common_tls_context'];
type Validation = UpstreamCommon['combined_validation_context'];
type SubjectName = Validation['default_validation_context']['match_typed_subject_alt_names'][number];

const subjectName = message<SubjectName>({
  san_type: choice(1, { DNS: 2, IP_ADDRESS: 4 }),
  matcher: one(2, message<SubjectName['matcher']>({ exact: chosenText(1) })),
});

export const upstreamTls = message<UpstreamTlsContext>({
  common_tls_context: one(
    1,
    message<UpstreamCommon>({
      tls_params: one(1, parameters),
      tls_certificate_sds_secret_configs: many(6, sdsSecret),
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

type DownstreamCommon = DownstreamTlsContext['common_tls_context'];

export const downstreamTls = message<DownstreamTlsContext>({
  common_tls_context: one(
    1,
    message<DownstreamCommon>({
      tls_params: one(1, parameters),
      alpn_protocols: texts(4),
      tls_certificate_sds_secret_configs: many(6, sdsSecret),
      validation_context_sds_secret_config: one(7, sdsSecret),
    }),
  ),
  require_client_certificate: wrapped(2),
  session_ticket_keys_sds_secret_config: one(5, sdsSecret),
});

const inlineText = message<{ readonly inline_string: string }>({ inline_string: chosenText(3) });

/** envoy.extensions.transport_sockets.tls.v3.Secret */
export const secretMessage = message<Secret>({
  name: text(1),
  tls_certificate: one(
    2,
    message<CertificateSecret['tls_certificate']>({ certificate_chain: one(1, inlineText), private_key: one(2, inlineText) }),
  ),
  session_ticket_keys: one(
    3,
    message<TicketKeySecret['session_ticket_keys']>({
      keys: many(1, message<{ readonly inline_bytes: string }>({ inline_bytes: base64(2) })),
    }),
  ),
  validation_context: one(
    4,
    message<ValidationSecret['validation_context']>({ trusted_ca: one(1, inlineText), verify_certificate_hash: texts(2) }),
  ),
});

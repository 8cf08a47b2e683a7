import type { ConfigSource } from '#platform/envoy/model/config-source.js';
import type { CertificateSecret, SdsSecretConfig, TicketKeySecret, ValidationSecret } from '#platform/envoy/model/tls.js';

import type { ClientCertificates } from './tls-policy.js';

const type = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';

/** The name of the secret with a certificate: it stays when the certificate is rotated. */
export function certificateSecretName(certificate: string): string {
  return `certificate-${certificate}`;
}

/** The name of the secret by which clients' certificates are judged. */
export const clientTrust = 'client-trust';

/** The name of the secret with the keys of session tickets. */
export const sessionTickets = 'session-tickets';

/** A secret as who uses it names it; without a source it stands in the bootstrap. */
export function secretConfig(name: string, sds_config: ConfigSource | undefined): SdsSecretConfig {
  return sds_config === undefined ? { name } : { name, sds_config };
}

/** A certificate with its key, both PEM. */
export function certificateSecret(certificate: string, pem: { readonly chain: string; readonly key: string }): CertificateSecret {
  return {
    '@type': type,
    name: certificateSecretName(certificate),
    tls_certificate: { certificate_chain: { inline_string: pem.chain }, private_key: { inline_string: pem.key } },
  };
}

/** No certificate has it: Envoy takes an empty list for "any certificate". */
const nobody = '0'.repeat(64);

/** @param fingerprints SHA-256 of the principals' certificates: lower-case hexadecimal without colons. */
export function clientTrustSecret(clients: ClientCertificates, fingerprints: readonly string[]): ValidationSecret {
  const allowed = fingerprints.length === 0 ? [nobody] : [...new Set(fingerprints)].sort();
  return {
    '@type': type,
    name: clientTrust,
    validation_context: {
      ...(clients.caBundle === null ? {} : { trusted_ca: { inline_string: clients.caBundle } }),
      ...(clients.principals ? { verify_certificate_hash: allowed } : {}),
    },
  };
}

/** @param keys 80 bytes each; the first seals, all open. */
export function ticketSecret(keys: readonly Buffer[]): TicketKeySecret {
  return {
    '@type': type,
    name: sessionTickets,
    session_ticket_keys: { keys: keys.map((key) => ({ inline_bytes: key.toString('base64') })) },
  };
}

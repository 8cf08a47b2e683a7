import { caBundleFault } from '#platform/envoy/ca-bundle.js';
import type { FieldError } from '#platform/kernel/errors.js';
import type { JsonObject } from '#platform/kernel/json.js';

/** Who must show a certificate of his own, and by what it is judged. */
export interface ClientCertificates extends JsonObject {
  /** Names that are served to clients with a certificate only: exact, `*.suffix`, or `*` for all. Asked for without one, they answer 421. */
  readonly hosts: readonly string[];
  /** PEM of the authorities that clients' certificates are checked against; null: none is asked. */
  readonly caBundle: string | null;
  /** Only the certificates whose fingerprints are those of the gateway's principals. With a bundle both must hold. */
  readonly principals: boolean;
  /** Are services told who the client is (`x-forwarded-client-cert`)? What clients say there themselves is removed in any case. */
  readonly forward: boolean;
}

/** How a gateway speaks TLS. */
export interface TlsPolicy extends JsonObject {
  readonly minimumVersion: '1.2' | '1.3';
  /** Of TLS 1.2, the first preferred. Those of 1.3 cannot be chosen. */
  readonly ciphers: readonly string[];
  /** Is HTTP/2 offered (ALPN)? */
  readonly http2: boolean;
  /** What comes over http is sent to https. */
  readonly redirectHttp: boolean;
  /** The port that clients are sent to; null: the one that https listens on. */
  readonly redirectPort: number | null;
  /** What a client gets that asks for a name which no certificate has; null: the first by name. */
  readonly defaultCertificate: string | null;
  readonly clientCertificates: ClientCertificates | null;
}

/** Forward secrecy and authenticated encryption; what browsers since 2015 and every current client have. */
const modernCiphers = [
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
] as const;

export const defaultTls: TlsPolicy = {
  minimumVersion: '1.2',
  ciphers: modernCiphers,
  http2: true,
  redirectHttp: false,
  redirectPort: null,
  defaultCertificate: null,
  clientCertificates: null,
};

/** What clients' certificates are judged by when only some of it is said. */
export const defaultClientCertificates: ClientCertificates = { hosts: ['*'], caBundle: null, principals: false, forward: false };

/** A policy out of the log; what an older version did not know has its default. */
export function tlsPolicyOf(state: unknown): TlsPolicy {
  const said = typeof state === 'object' && state !== null ? (state as Partial<TlsPolicy>) : {};
  const { clientCertificates = null } = said;
  return {
    ...defaultTls,
    ...said,
    clientCertificates: clientCertificates === null ? null : { ...defaultClientCertificates, ...clientCertificates },
  };
}

/** `*` covers everything, `*.a.example` what ends in `.a.example`, any other pattern itself. */
export function covers(pattern: string, host: string): boolean {
  if (pattern === '*') return true;
  return pattern.startsWith('*.') ? host.endsWith(pattern.slice(1)) : host === pattern;
}

const mostHosts = 100;
const hostPattern = /^(\*|(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*)$/;

/** What is wrong with a policy, its pointers relative to the settings. */
export function* tlsFaults(policy: TlsPolicy): Iterable<FieldError> {
  const known: ReadonlySet<string> = new Set(modernCiphers);
  if (policy.ciphers.length === 0)
    yield { pointer: '/tls/ciphers', code: 'tls_no_cipher', message: 'Leave at least one cipher, or the field out.' };
  for (const [i, cipher] of policy.ciphers.entries()) {
    if (!known.has(cipher))
      yield { pointer: `/tls/ciphers/${i}`, code: 'tls_cipher_unknown', message: `Ciphers of TLS 1.2 are ${modernCiphers.join(', ')}.` };
  }
  const { redirectPort: port, defaultCertificate: name } = policy;
  if (port !== null && !(Number.isInteger(port) && port >= 1 && port <= 65_535))
    yield { pointer: '/tls/redirectPort', code: 'port_out_of_range', message: 'A port is from 1 to 65535.' };
  if (name !== null && !/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name))
    yield { pointer: '/tls/defaultCertificate', code: 'certificate_name_invalid', message: 'Give the name of a certificate, or null.' };
  if (policy.clientCertificates !== null) yield* clientFaults(policy.clientCertificates);
}

function* clientFaults({ hosts, caBundle, principals }: ClientCertificates): Iterable<FieldError> {
  const at = '/tls/clientCertificates';
  if (hosts.length === 0 || hosts.length > mostHosts)
    yield { pointer: `${at}/hosts`, code: 'tls_hosts_count', message: `Name 1 to ${mostHosts} hosts, or ["*"] for all.` };
  for (const [i, host] of hosts.entries()) {
    if (host.length > 253 || !hostPattern.test(host))
      yield { pointer: `${at}/hosts/${i}`, code: 'host_invalid', message: 'A host is an exact name, *.suffix or *, in lower case.' };
  }
  if (caBundle === null && !principals) {
    const message = "Say by what clients' certificates are judged: caBundle, principals, or both.";
    yield { pointer: at, code: 'tls_clients_unjudged', message };
  }
  const fault = caBundle === null ? undefined : caBundleFault(caBundle);
  if (fault !== undefined) yield { pointer: `${at}/caBundle`, ...fault };
}

import { caBundleFault } from '#platform/envoy/ca-bundle.js';
import type { Json, JsonObject } from '#platform/kernel/json.js';

import type { Faults } from './faults.js';
import { parseHost } from './host.js';
import { readService, type ServiceReference } from './service-reference.js';
import { isFault } from './text.js';

/** How an https service is spoken to, where that is another way than by its name and the public authorities. */
export interface UpstreamTls {
  /** The name that is asked for in the handshake and that its certificate must have; null: the service's. */
  readonly sni: string | null;
  /** PEM of the authorities that its certificate is checked against; null: the public ones. */
  readonly caBundle: string | null;
  /** The certificate of the gateway that is shown to the service; null: none. */
  readonly certificate: string | null;
}

/** A service with how it is spoken to: what one cluster is for. */
export interface Upstream extends ServiceReference {
  readonly tls?: UpstreamTls | undefined;
}

/** What a body says of it; undefined when it says nothing. Faults are added at `/tls/…`. */
export function readUpstreamTls(
  said: { readonly [K in keyof UpstreamTls]?: string | null | undefined } | null | undefined,
  service: string,
  faults: Faults,
): UpstreamTls | undefined {
  const { sni = null, caBundle = null, certificate = null } = said ?? {};
  if (sni === null && caBundle === null && certificate === null) return undefined;
  const reference = readService(service);
  if (!isFault(reference) && reference.scheme !== 'https')
    faults.add('/tls', 'tls_without_https', 'The service is reached by http://; write https:// before it, or leave "tls" out.');
  const host = sni === null ? undefined : parseHost(sni);
  if (sni !== null && (host === undefined || isFault(host) || host.host !== sni || sni.includes('*')))
    faults.add('/tls/sni', 'sni_invalid', 'A server name is an exact name in lower case, such as "api.example.com".');
  if (certificate !== null && !/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(certificate))
    faults.add('/tls/certificate', 'certificate_name_invalid', 'Name a certificate of this gateway.');
  const fault = caBundle === null ? undefined : caBundleFault(caBundle);
  if (fault !== undefined) faults.add('/tls/caBundle', fault.code, fault.message);
  return { sni, caBundle, certificate };
}

/** The same out of the log; undefined for what makes no sense. */
export function upstreamTlsOf(value: Json | undefined): UpstreamTls | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const text = (member: unknown) => (typeof member === 'string' ? member : null);
  const { sni, caBundle, certificate } = value as JsonObject;
  return { sni: text(sni), caBundle: text(caBundle), certificate: text(certificate) };
}

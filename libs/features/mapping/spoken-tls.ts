import { X509Certificate } from 'node:crypto';

import type { RouteRow } from './route-table.js';
import { readService } from './service-reference.js';
import { isFault } from './text.js';

/** How a service is spoken to over TLS. */
export interface SpokenTls {
  /** The name in the handshake; null: none, since the service is an address. */
  readonly sni: string | null;
  /** What the service's certificate must have. */
  readonly verifiedName: string;
  /** The subjects of the authorities that it is checked against; null: the public ones. */
  readonly authorities: readonly string[] | null;
  /** The certificate of the gateway that is shown to the service; null: none. */
  readonly certificate: string | null;
}

/** Undefined for a service that is reached without TLS, or makes no sense. */
export function spokenTls({ service, tls }: Pick<RouteRow, 'service' | 'tls'>): SpokenTls | undefined {
  const reference = readService(service);
  if (isFault(reference) || reference.scheme !== 'https') return undefined;
  const { sni = null, caBundle = null, certificate = null } = tls ?? {};
  const name = sni ?? reference.name;
  return {
    sni: reference.ipVersion !== 0 && sni === null ? null : name,
    verifiedName: name,
    authorities: caBundle === null ? null : subjectsIn(caBundle),
    certificate,
  };
}

function subjectsIn(bundle: string): string[] {
  const blocks = bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block).subject.replaceAll('\n', ', '));
}

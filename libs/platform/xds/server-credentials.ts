import type { IncomingHttpHeaders } from 'node:http2';
import { createSecureContext, type DetailedPeerCertificate } from 'node:tls';

import type { MutualTls } from '#platform/grpc/grpc-server.js';

/** Who a client certificate says that it belongs to. */
export interface PeerIdentity {
  /** The first URI of the certificate (a SPIFFE id, for instance), else its first DNS name, else its common name. */
  readonly name: string;
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  readonly commonName: string | undefined;
  /** SHA-256 of the certificate, upper case hexadecimal with colons. */
  readonly fingerprint: string;
}

/** PEM. */
export interface ServerCertificate {
  readonly certificateChain: Buffer;
  readonly privateKey: Buffer;
  /** Clients must show a certificate that one of these has signed. */
  readonly clientAuthorities: Buffer;
}

/**
 * TLS in which both sides show a certificate: a client without one, or with one of another authority, does not get as far as a call.
 * @throws Error when the certificate, the key or the authorities cannot be read, or do not belong together.
 */
export function mutualTls({ certificateChain, privateKey, clientAuthorities }: ServerCertificate): MutualTls {
  const tls = { cert: certificateChain, key: privateKey, ca: clientAuthorities };
  createSecureContext(tls);
  return tls;
}

/** The identity behind the verified certificate of a call's connection; undefined when the connection has none, or a certificate without any name. */
export function peerIdentity(call: { readonly peerCertificate: DetailedPeerCertificate | undefined }): PeerIdentity | undefined {
  const certificate = call.peerCertificate;
  if (certificate === undefined) return undefined;
  const names = alternativeNames(certificate.subjectaltname ?? '');
  const uris = names.filter(([kind]) => kind === 'URI').map(([, value]) => value);
  const dnsNames = names.filter(([kind]) => kind === 'DNS').map(([, value]) => value);
  const commonName = [certificate.subject?.CN ?? []].flat()[0];
  const name = uris[0] ?? dnsNames[0] ?? commonName;
  if (name === undefined || name === '') return undefined;
  return { name, uris, dnsNames, commonName, fingerprint: certificate.fingerprint256 ?? '' };
}

/** The token of a call's `authorization: Bearer ...`; undefined when there is none, or none that could be one. */
export function presentedToken(headers: IncomingHttpHeaders): string | undefined {
  return /^Bearer (\S{1,512})$/i.exec(headers.authorization ?? '')?.[1];
}

/**
 * Node lists them as `DNS:a, URI:b`, and writes a value that could be taken for more than one as a JSON string (CVE-2021-44532): a name cannot smuggle
 * another one in.
 */
function alternativeNames(text: string): [kind: string, value: string][] {
  const names: [string, string][] = [];
  for (const match of text.matchAll(/([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)(?:, |$)/gy)) {
    const [, kind = '', value = ''] = match;
    names.push([kind, value.startsWith('"') ? String(JSON.parse(value)) : value]);
  }
  return names;
}

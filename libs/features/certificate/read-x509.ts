import 'reflect-metadata'; // what the library below needs to be loaded

import { X509Certificate } from 'node:crypto';

import type * as x509 from '@peculiar/x509';

import { derLength } from './pem-blocks.js';

/** A certificate with everything that is judged about it. */
export interface ReadCertificate {
  readonly der: Buffer;
  readonly node: X509Certificate;
  /** SHA-256, 64 hexadecimal digits. */
  readonly fingerprint: string;
  /** As RFC 4514 writes it; at most 1,000 characters. */
  readonly subject: string;
  readonly issuer: string;
  readonly isSelfIssued: boolean;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** The DER of how it is signed, object identifier and parameters, in hexadecimal. */
  readonly signatureAlgorithm: string;
  /** Undefined without the extension. */
  readonly basicConstraints: { readonly ca: boolean; readonly pathLength: number | undefined } | undefined;
  readonly keyUsages: number | undefined;
  readonly extendedKeyUsages: readonly string[] | undefined;
  readonly names: readonly { readonly type: string; readonly value: string }[] | undefined;
  readonly criticalUnknown: readonly string[];
  readonly isPrecertificate: boolean;
}

/** Bits of `keyUsages`. */
export const usage = { digitalSignature: 1, keyCertSign: 32 } as const;

const PRECERTIFICATE = '1.3.6.1.4.1.11129.2.4.3';
const MOST_TEXT = 1_000;
/** Extensions whose meaning is looked at here or does not matter to a server: basic constraints, key usage, extended key usage, names, name constraints, policies. */
const understood = new Set([
  '2.5.29.19',
  '2.5.29.15',
  '2.5.29.37',
  '2.5.29.17',
  '2.5.29.18',
  '2.5.29.30',
  '2.5.29.32',
  '2.5.29.33',
  '2.5.29.36',
  '2.5.29.54',
  PRECERTIFICATE,
]);

/** Reads DER. The library that knows extensions is loaded when the first certificate comes: most processes never meet one. @throws Error for what is no certificate. */
export async function readX509(der: Buffer): Promise<ReadCertificate> {
  const library = await import('@peculiar/x509');
  const node = new X509Certificate(der);
  const parsed = new library.X509Certificate(new Uint8Array(der));
  const constraints = parsed.getExtension(library.BasicConstraintsExtension);
  const names = parsed.getExtension(library.SubjectAlternativeNameExtension);
  return {
    der,
    node,
    fingerprint: node.fingerprint256.replaceAll(':', '').toLowerCase(),
    subject: short(parsed.subject),
    issuer: short(parsed.issuer),
    isSelfIssued: node.subject === node.issuer,
    notBefore: parsed.notBefore,
    notAfter: parsed.notAfter,
    signatureAlgorithm: signatureAlgorithmOf(der),
    basicConstraints: constraints === null ? undefined : { ca: constraints.ca, pathLength: constraints.pathLength },
    keyUsages: parsed.getExtension(library.KeyUsagesExtension)?.usages,
    extendedKeyUsages: parsed.getExtension(library.ExtendedKeyUsageExtension)?.usages.map(String),
    names: names === null ? undefined : namesOf(names),
    criticalUnknown: parsed.extensions.filter(({ critical, type }) => critical && !understood.has(type)).map(({ type }) => type),
    isPrecertificate: parsed.getExtension(PRECERTIFICATE) !== null,
  };
}

function namesOf(extension: x509.SubjectAlternativeNameExtension): { type: string; value: string }[] {
  return extension.names.items.map(({ type, value }) => ({ type, value }));
}

function short(text: string): string {
  return text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT - 1)}…` : text;
}

/** A certificate is a sequence of what is signed, how, and the signature; the library keeps the second to itself. */
function signatureAlgorithmOf(der: Buffer): string {
  const signed = der.subarray(headerLength(der));
  const how = signed.subarray(derLength(signed));
  return how.subarray(headerLength(how), derLength(how)).toString('hex');
}

function headerLength(der: Buffer): number {
  const first = der[1] ?? 0;
  return first < 0x80 ? 2 : 2 + (first & 0x7f);
}

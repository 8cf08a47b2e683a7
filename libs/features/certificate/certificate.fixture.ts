import 'reflect-metadata';

import { KeyObject, webcrypto } from 'node:crypto';

import * as x509 from '@peculiar/x509';

/** A certificate that a test made, with its key, to serve or to issue others with. */
export interface MadeCertificate {
  readonly certificate: x509.X509Certificate;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly pem: string;
  /** PKCS #8, PEM. */
  readonly key: string;
}

export interface Wanted {
  readonly subject?: string;
  readonly issuer?: MadeCertificate;
  /** Days from now. */
  readonly from?: number;
  readonly until?: number;
  readonly dns?: readonly string[];
  readonly ip?: readonly string[];
  readonly ca?: boolean;
  /** In place of those that a good certificate has. */
  readonly extensions?: readonly x509.Extension[];
  readonly keys?: webcrypto.CryptoKeyPair;
  readonly algorithm?: Algorithm;
  /** How the issuer signs. */
  readonly signing?: Algorithm;
}

type Algorithm = Parameters<typeof webcrypto.subtle.generateKey>[0] & { readonly hash?: string };

export const ecP256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
let serial = 0x1000;

/** Makes keys of this kind. */
export function makeKeys(algorithm: Algorithm = ecP256): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']) as Promise<webcrypto.CryptoKeyPair>;
}

/** What stands in a good certificate of a server. */
export function serverExtensions({ dns = ['www.example.com'], ip = [], ca = false }: Wanted): x509.Extension[] {
  const names = [...dns.map((value) => ({ type: 'dns' as const, value })), ...ip.map((value) => ({ type: 'ip' as const, value }))];
  if (ca)
    return [new x509.BasicConstraintsExtension(true, undefined, true), new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true)];
  return [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    new x509.ExtendedKeyUsageExtension(['1.3.6.1.5.5.7.3.1']),
    new x509.SubjectAlternativeNameExtension(names),
  ];
}

/** Makes a certificate that is good unless it is wanted otherwise: EC on P-256, valid from yesterday for 90 days, issued by itself without an issuer. */
export async function makeCertificate(wanted: Wanted = {}): Promise<MadeCertificate> {
  const { issuer, from = -1, until = 90, algorithm = ecP256, signing } = wanted;
  const keys = wanted.keys ?? (await makeKeys(algorithm));
  const subject = wanted.subject ?? (wanted.ca === true ? 'CN=Example CA' : 'CN=www.example.com');
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: (serial++).toString(16),
    subject,
    issuer: issuer?.certificate.subject ?? subject,
    notBefore: new Date(Date.now() + from * DAY_MS),
    notAfter: new Date(Date.now() + until * DAY_MS),
    publicKey: keys.publicKey,
    signingKey: issuer?.keys.privateKey ?? keys.privateKey,
    signingAlgorithm: (signing ?? issuer?.keys.privateKey.algorithm ?? algorithm) as typeof ecP256,
    extensions: [...(wanted.extensions ?? serverExtensions(wanted))],
  });
  const key = KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }).toString();
  return { certificate, keys, pem: `${certificate.toString('pem')}\n`, key };
}

/** A root, what it issued to issue, and what that issued to serve. */
export async function makeChain(wanted: Wanted = {}): Promise<{ root: MadeCertificate; between: MadeCertificate; leaf: MadeCertificate }> {
  const root = await makeCertificate({ ca: true, subject: 'CN=Example Root', until: 3650 });
  const between = await makeCertificate({ ca: true, subject: 'CN=Example Issuing CA', issuer: root, signing: ecP256, until: 1000 });
  const leaf = await makeCertificate({ signing: ecP256, ...wanted, issuer: between });
  return { root, between, leaf };
}

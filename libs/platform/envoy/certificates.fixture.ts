import 'reflect-metadata'; // first: @peculiar/x509 needs it as it is loaded
import { webcrypto } from 'node:crypto';

import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsageExtension,
  type Extension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';

cryptoProvider.set(webcrypto as never); // the same by another name

/** A certificate for tests, PEM, and what it is known by. */
export interface TestCertificate {
  readonly chain: string;
  readonly key: string;
  /** SHA-256 of the certificate itself, lower-case hexadecimal. */
  readonly fingerprint: string;
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const day = 86_400_000;
let serials = 0;

/** An authority that signs certificates for servers and clients. */
export interface TestAuthority extends TestCertificate {
  /** @param names DNS names or IP addresses; the first is the common name as well. */
  issue(names: readonly string[], options?: { readonly notBefore?: Date; readonly notAfter?: Date }): Promise<TestCertificate>;
}

export async function createAuthority(name = 'Test authority'): Promise<TestAuthority> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const own = await X509CertificateGenerator.createSelfSigned({
    serialNumber: nextSerial(),
    name: `CN=${name}`,
    ...lifetime({}),
    signingAlgorithm: algorithm,
    keys,
    extensions: [new BasicConstraintsExtension(true, undefined, true)],
  });
  return {
    ...(await described([own.toString('pem')], own.rawData, keys.privateKey)),
    async issue(names, options = {}) {
      const leafKeys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
      const isAddress = (text: string) => /^[0-9.]+$|:/.test(text);
      const extensions: Extension[] = [
        new BasicConstraintsExtension(false),
        new ExtendedKeyUsageExtension(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']),
        new SubjectAlternativeNameExtension(names.map((value) => ({ type: isAddress(value) ? 'ip' : 'dns', value }))),
        await AuthorityKeyIdentifierExtension.create(keys.publicKey),
      ];
      const leaf = await X509CertificateGenerator.create({
        serialNumber: nextSerial(),
        subject: `CN=${names[0] ?? 'nobody'}`,
        issuer: own.subject,
        ...lifetime(options),
        signingAlgorithm: algorithm,
        publicKey: leafKeys.publicKey,
        signingKey: keys.privateKey,
        extensions,
      });
      return described([leaf.toString('pem'), own.toString('pem')], leaf.rawData, leafKeys.privateKey);
    },
  };
}

function lifetime({ notBefore, notAfter }: { readonly notBefore?: Date; readonly notAfter?: Date }) {
  return { notBefore: notBefore ?? new Date(Date.now() - day), notAfter: notAfter ?? new Date(Date.now() + 90 * day) };
}

/** Different in every run: clients remember what they have seen of an issuer. */
function nextSerial(): string {
  serials += 1;
  return `${Date.now().toString(16).padStart(12, '0')}${process.pid.toString(16).padStart(6, '0')}${serials.toString(16).padStart(6, '0')}`;
}

async function described(chain: readonly string[], raw: ArrayBuffer, key: webcrypto.CryptoKey): Promise<TestCertificate> {
  const digest = await webcrypto.subtle.digest('SHA-256', raw);
  return {
    chain: `${chain.join('\n')}\n`,
    key: `${PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`,
    fingerprint: Buffer.from(digest).toString('hex'),
  };
}

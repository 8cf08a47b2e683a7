import { createHash } from 'node:crypto';

import type { Warning } from '#platform/http/write-answer.js';
import { DomainError } from '#platform/kernel/errors.js';
import { Secret } from '#platform/vault/secret.js';

import type { CertificateFacts } from './certificate.js';
import { issuerFaults, requireChain, signatureFaults } from './chain-faults.js';
import { leafFaults } from './leaf-faults.js';
import { derLength, invalid, readPem, toPem } from './pem-blocks.js';
import { keyAlgorithmOf, keyText, readPrivateKey, signsFor } from './private-key.js';
import { type ReadCertificate, readX509 } from './read-x509.js';

/** What somebody sends: PEM, a chain from the certificate upwards, and its key. */
export interface KeyPairInput {
  readonly certificateChain: string;
  readonly privateKey: Secret<string>;
}

/** A pair that can serve, in the form that it is kept in. */
export interface CheckedKeyPair {
  readonly facts: CertificateFacts;
  readonly certificateChain: string;
  readonly privateKey: Secret<string>;
  readonly warnings: readonly Warning[];
}

const POINTER = '/certificateChain';
const MOST_BYTES = 48 * 1024;
const DAY_MS = 86_400_000;
const SOON_DAYS = 30;

/**
 * Judges a chain and its key as Envoy and its clients would, before anything is kept of them.
 * @throws DomainError invalid, with the pointer, a code of its own for each reason, and what to do about it.
 */
export async function checkCertificate({ certificateChain, privateKey }: KeyPairInput, now: Date): Promise<CheckedKeyPair> {
  const chain = await readChain(certificateChain);
  const key = readPrivateKey(privateKey.reveal());
  requireChain(chain, key);
  const [leaf] = chain;
  if (leaf === undefined) throw invalid(POINTER, 'chain_missing', 'There is no certificate in it.');
  const errors = [...leafFaults(leaf, now), ...issuerFaults(chain, now), ...signatureFaults(chain)];
  const [first] = errors;
  if (first !== undefined) throw new DomainError('invalid', first.code, first.message, { errors });
  if (!signsFor(key, leaf.node.publicKey))
    throw invalid(
      '/privateKey',
      'key_broken',
      'The private key does not sign what its certificate accepts: a part of it is damaged. Take it from where it was made.',
    );
  return {
    facts: factsOf(leaf, chain),
    certificateChain: chain.map(({ der }) => toPem('CERTIFICATE', der)).join(''),
    privateKey: new Secret(keyText(key)),
    warnings: warningsOf(leaf, chain, now),
  };
}

async function readChain(text: string): Promise<ReadCertificate[]> {
  const blocks = readPem(text, POINTER, 'a certificate with its chain', MOST_BYTES);
  const chain: ReadCertificate[] = [];
  for (const [i, { label, der }] of blocks.entries()) {
    if (label.endsWith('PRIVATE KEY'))
      throw invalid(
        POINTER,
        'key_in_chain',
        'There is a private key among the certificates, where everybody may read it; send it as privateKey only. Nothing was kept of it.',
      );
    if (label.endsWith('CERTIFICATE REQUEST'))
      throw invalid(POINTER, 'chain_is_request', 'This is a request for a certificate; send what was issued for it.');
    if (label !== 'CERTIFICATE')
      throw invalid(
        POINTER,
        'pem_label_wrong',
        `A block ${label} is no certificate; send blocks that begin with -----BEGIN CERTIFICATE-----.`,
      );
    if (derLength(der) !== der.length) throw unreadable(i);
    chain.push(
      await readX509(der).catch((): never => {
        throw unreadable(i);
      }),
    );
  }
  return chain;
}

function unreadable(i: number): DomainError {
  return invalid(
    POINTER,
    'certificate_unreadable',
    `Certificate ${i + 1} cannot be read: it was damaged or cut, or something was added to it.`,
  );
}

function factsOf(leaf: ReadCertificate, chain: readonly ReadCertificate[]): CertificateFacts {
  const named = (type: string) => [
    ...new Set((leaf.names ?? []).filter((name) => name.type === type).map(({ value }) => value.toLowerCase())),
  ];
  const all = createHash('sha256');
  for (const { der } of chain) all.update(der);
  return {
    fingerprint: leaf.fingerprint,
    chainFingerprint: all.digest('hex'),
    serial: leaf.node.serialNumber.toLowerCase(),
    subject: leaf.subject,
    sans: { dns: named('dns'), ip: named('ip') },
    issuer: leaf.issuer,
    notBefore: leaf.notBefore.toISOString(),
    notAfter: leaf.notAfter.toISOString(),
    keyAlgorithm: keyAlgorithmOf(leaf.node.publicKey),
    chainLength: chain.length,
  };
}

function warningsOf(leaf: ReadCertificate, chain: readonly ReadCertificate[], now: Date): Warning[] {
  const warnings: Warning[] = [];
  const add = (code: string, message: string) => warnings.push({ code, message, pointer: POINTER });
  const last = chain.at(-1);
  if (leaf.isSelfIssued) add('self_signed', 'It has issued itself: clients believe it only when they were given it.');
  else if (chain.length === 1)
    add('chain_short', 'It comes without the certificate of its issuer: clients that do not know that one by themselves refuse it.');
  else if (last?.isSelfIssued === true)
    add('root_included', 'The last certificate is a root: clients have it or do not believe it, so it only makes handshakes longer.');
  const daysLeft = Math.floor((leaf.notAfter.getTime() - now.getTime()) / DAY_MS);
  if (daysLeft < SOON_DAYS) add('expires_soon', `It expires in ${daysLeft} days, on ${leaf.notAfter.toISOString()}.`);
  if ((leaf.names ?? []).some(({ type }) => type === 'ip'))
    add('san_ip', 'It names IP addresses: clients that go to an address do not say which host they want, and get the default certificate.');
  return warnings;
}

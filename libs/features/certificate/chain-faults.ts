import type { KeyObject } from 'node:crypto';

import type { FieldError } from '#platform/kernel/errors.js';

import { invalid } from './pem-blocks.js';
import { isPair, keyFault } from './private-key.js';
import { type ReadCertificate, usage } from './read-x509.js';

const POINTER = '/certificateChain';
const MOST_CERTIFICATES = 10;

/** Object identifiers in DER: RSA and ECDSA with SHA-256, SHA-384 and SHA-512, Ed25519, Ed448. */
const strongSignature = /^(06092a864886f70d01010[bcd]|06082a8648ce3d04030[234]|06032b65(70|71))/;
/** RSA-PSS has its hash among its parameters; without any it means SHA-1. */
const strongPss = /^06092a864886f70d01010a.*60864801650304020[123]/;
const weakSignatures: readonly (readonly [prefix: string, hash: string])[] = [
  ['06092a864886f70d010102', 'MD2'],
  ['06092a864886f70d010104', 'MD5'],
  ['06092a864886f70d010105', 'SHA-1'],
  ['06092a864886f70d01010a', 'SHA-1'],
  ['06052b0e03021d', 'SHA-1'],
  ['06072a8648ce3d0401', 'SHA-1'],
  ['06072a8648ce380403', 'SHA-1'],
];

/**
 * Whether these are one chain, from the key's certificate upwards.
 * @throws DomainError invalid: `chain_too_long`, `chain_duplicate`, `key_mismatch`, `leaf_not_first`, `chain_out_of_order`, `chain_signature_wrong`, `chain_unrelated`.
 */
export function requireChain(chain: readonly ReadCertificate[], key: KeyObject): void {
  if (chain.length > MOST_CERTIFICATES)
    throw invalid(
      POINTER,
      'chain_too_long',
      `There are ${chain.length} certificates in it; ${MOST_CERTIFICATES} is the most. Send the certificate and those between it and the root.`,
    );
  for (const [i, { fingerprint }] of chain.entries()) {
    const first = chain.findIndex((other) => other.fingerprint === fingerprint);
    if (first !== i)
      throw invalid(POINTER, 'chain_duplicate', `Certificate ${i + 1} is the same as certificate ${first + 1}; send each once.`);
  }
  const own = chain.findIndex(({ node }) => isPair(key, node.publicKey));
  if (own < 0)
    throw invalid(
      '/privateKey',
      'key_mismatch',
      `The private key belongs to none of the certificates; send the key that ${nameOf(chain[0])} was requested with.`,
    );
  if (own > 0)
    throw invalid(
      POINTER,
      'leaf_not_first',
      `The certificate of the private key is number ${own + 1}; put it first, then those that vouch for it.`,
    );
  for (let i = 0; i + 1 < chain.length; i++) requireIssued(chain, i);
}

function requireIssued(chain: readonly ReadCertificate[], i: number): void {
  const [child, next] = [chain[i], chain[i + 1]];
  if (child === undefined || next === undefined || hasIssued(next, child)) return;
  const issuer = chain.findIndex((other, j) => j > i + 1 && hasIssued(other, child));
  if (issuer > 0)
    throw invalid(
      POINTER,
      'chain_out_of_order',
      `Certificate ${i + 1} was issued by certificate ${issuer + 1}, which must come right after it.`,
    );
  if (child.node.issuer === next.node.subject && !child.isSelfIssued)
    throw invalid(
      POINTER,
      'chain_signature_wrong',
      `Certificate ${i + 2} has the name of the issuer of certificate ${i + 1}, and did not sign it: it is another one of this name.`,
    );
  const message = child.isSelfIssued
    ? `Certificate ${i + 1} has issued itself, so that certificate ${i + 2} has nothing to do with it; remove that.`
    : `Certificate ${i + 2} did not issue certificate ${i + 1} (${child.issuer} did): it belongs elsewhere, or one is missing between them.`;
  throw invalid(POINTER, 'chain_unrelated', message);
}

function hasIssued(issuer: ReadCertificate, child: ReadCertificate): boolean {
  if (child.node.issuer !== issuer.node.subject) return false;
  try {
    return child.node.verify(issuer.node.publicKey);
  } catch {
    return false; // a key that signs otherwise than the certificate was signed
  }
}

/** What is wrong with the certificates above the first one. */
export function issuerFaults(chain: readonly ReadCertificate[], now: Date): FieldError[] {
  return chain.slice(1).flatMap((one, i) => {
    const which = `Certificate ${i + 2} (${nameOf(one)})`;
    const faults: FieldError[] = [];
    const add = (code: string, message: string) => faults.push({ pointer: POINTER, code, message });
    if (one.notAfter < now)
      add('issuer_expired', `${which} has expired, on ${one.notAfter.toISOString()}; get the present one from who issued yours.`);
    else if (one.notBefore > now) add('issuer_not_yet_valid', `${which} is not valid before ${one.notBefore.toISOString()}.`);
    if (one.basicConstraints?.ca !== true) add('issuer_not_ca', `${which} is not allowed to issue certificates (it is no CA).`);
    else if (one.basicConstraints.pathLength !== undefined && one.basicConstraints.pathLength < i)
      add(
        'issuer_path_length',
        `${which} allows ${one.basicConstraints.pathLength} certificates between itself and the last one, and there are ${i}.`,
      );
    if (one.keyUsages !== undefined && (one.keyUsages & usage.keyCertSign) === 0)
      add('issuer_key_usage', `${which} has a key that is not for signing certificates (key usage).`);
    const weak = keyFault(one.node.publicKey);
    if (weak !== undefined && ['key_too_short', 'curve_unsupported'].includes(weak.code))
      add('issuer_key_weak', `${which}: ${weak.message}`);
    return faults;
  });
}

/** Signatures that can be forged. A root's own does not matter: nobody believes it for its signature. */
export function signatureFaults(chain: readonly ReadCertificate[]): FieldError[] {
  return chain.flatMap((one, i): FieldError[] => {
    const how = one.signatureAlgorithm;
    if ((i > 0 && one.isSelfIssued) || strongSignature.test(how) || strongPss.test(how)) return [];
    const hash = weakSignatures.find(([prefix]) => how.startsWith(prefix))?.[1];
    const why = hash === undefined ? 'in a way that clients do not know' : `with ${hash}, which can be forged`;
    return [
      { pointer: POINTER, code: 'signature_weak', message: `Certificate ${i + 1} is signed ${why}; have it issued anew with SHA-256.` },
    ];
  });
}

function nameOf(certificate: ReadCertificate | undefined): string {
  return certificate === undefined || certificate.subject === '' ? 'the certificate' : certificate.subject;
}

import { z } from 'zod';

import { readBody } from '#platform/http/body-shape.js';
import { DomainError } from '#platform/kernel/errors.js';
import { Secret } from '#platform/vault/secret.js';

import type { KeyPairInput } from './check-certificate.js';

/** The most a body with a certificate may be. */
export const MOST_BODY_BYTES = 64 * 1024;

/** The body of `PUT /v1/gateways/{gateway}/certificates/{name}`. */
export const CertificateInput = z.strictObject({
  certificateChain: z.string().describe('PEM: the certificate, then those that vouch for it, each after the one that it issued.'),
  privateKey: z.string().describe('PEM: the private key of the certificate. It is kept encrypted and never answered.'),
});

/** @throws DomainError malformed (shape), invalid `name_invalid`. */
export function parseCertificate(name: string, body: unknown): KeyPairInput {
  const { certificateChain, privateKey } = readBody(CertificateInput, body);
  checkCertificateName(name);
  return { certificateChain, privateKey: new Secret(privateKey) };
}

/** @throws DomainError invalid `name_invalid`. */
export function checkCertificateName(name: string): void {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) return;
  const message = 'A name is 1 to 64 letters, digits, dots, underscores and hyphens, and starts with a letter or digit.';
  throw new DomainError('invalid', 'name_invalid', message, { errors: [{ pointer: '', code: 'name_invalid', message }] });
}

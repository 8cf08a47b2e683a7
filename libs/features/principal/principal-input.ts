import { z } from 'zod';

import { readBody } from '#platform/http/body-shape.js';
import { DomainError } from '#platform/kernel/errors.js';

import type { PrincipalState } from './principal.js';

/** The body of POST /ambassador/principal/{name}. */
export const PrincipalInput = z.strictObject({
  fingerprint: z.string().describe('SHA-256 of the client certificate: 64 hexadecimal digits, colons allowed.'),
});

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const fingerprintPattern = /^[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}$/;

/** @throws DomainError malformed (shape) or invalid (`name_invalid`, `fingerprint_invalid`). */
export function parsePrincipal(name: string, body: unknown): PrincipalState {
  const { fingerprint } = readBody(PrincipalInput, body);
  checkPrincipalName(name);
  if (!fingerprintPattern.test(fingerprint)) {
    throw invalid(
      '/fingerprint',
      'fingerprint_invalid',
      'A fingerprint is the SHA-256 of a certificate: 64 hexadecimal digits, with or without colons.',
    );
  }
  return { name, fingerprint };
}

/** @throws DomainError invalid `name_invalid`. */
export function checkPrincipalName(name: string): void {
  if (!namePattern.test(name))
    throw invalid(
      '',
      'name_invalid',
      'A name is 1 to 64 letters, digits, dots, underscores and hyphens, and starts with a letter or digit.',
    );
}

function invalid(pointer: string, code: string, message: string): DomainError {
  return new DomainError('invalid', code, message, { errors: [{ pointer, code, message }] });
}

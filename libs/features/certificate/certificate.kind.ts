import type { SubjectKind } from '#features/history/subject-kind.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json, JsonObject } from '#platform/kernel/json.js';

import { type CertificateState, certificateTransition, publicFacts } from './certificate.js';

/**
 * Certificates, for what works on every kind of subject. Documents show what everybody may know of them and carry no keys, so that a document can neither
 * make a certificate nor exchange it: one that it names stays as it is.
 */
export const certificateKind: SubjectKind = {
  name: 'certificate',
  isNamed: true,
  section: 'certificates',
  upcast: (state) => state, // there has been one shape so far
  transition: certificateTransition,
  read: (_name, value, { present }) => keep(present ?? null, value),
  patch: (_name, before, value) => keep(before, value),
  write: (state) => ({ ...publicFacts(state as CertificateState) }),
  secretOf: (state) => (state as CertificateState).secret.id,
  whyNotBack,
};

/** @throws DomainError malformed `key_not_here`; invalid `certificate_absent`. */
function keep(present: JsonObject | null, value: Json): JsonObject {
  const members = typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.keys(value) : [];
  const secret = members.find((member) => member === 'privateKey' || member === 'certificateChain');
  if (secret !== undefined) {
    const message =
      'Chain and key are taken by PUT certificates/{name} only: what is sent here is shown to many. Leave them out; nothing was kept of them.';
    throw new DomainError('malformed', 'key_not_here', message, { errors: [{ pointer: `/${secret}`, code: 'key_not_here', message }] });
  }
  if (present !== null) return present;
  const message =
    'There is no certificate of this name, and a document holds no key to make it with: push it first (PUT certificates/{name}), or leave it out.';
  throw new DomainError('invalid', 'certificate_absent', message, { errors: [{ pointer: '', code: 'certificate_absent', message }] });
}

function whyNotBack(present: JsonObject | null, past: JsonObject | null, now: Date): { code: string; message: string } | undefined {
  if (past === null) return undefined;
  if (present === null) return { code: 'certificate_removed', message: 'It was removed since; push it again if it shall serve.' };
  if (typeof past.notAfter === 'string' && Date.parse(past.notAfter) <= now.getTime())
    return { code: 'certificate_expired', message: `The one of that time has expired, on ${past.notAfter}.` };
  return undefined;
}

import type { SubjectKind } from '#features/history/subject-kind.js';
import type { Json } from '#platform/kernel/json.js';

import { principalTransition } from './principal.js';
import { parsePrincipal } from './principal-input.js';

/** Principals, for what works on every kind of subject. A principal has one member, so a patch of it is a replacement. */
export const principalKind: SubjectKind = {
  name: 'principal',
  isNamed: true,
  section: 'principals',
  upcast: (state) => state, // there has been one shape so far
  transition: principalTransition,
  read: (name, value) => parsePrincipal(name, withoutName(value)),
  patch: (name, _before, value) => parsePrincipal(name, withoutName(value)),
  write: (state) => state,
  explainClaim: (_claim, owner) => ({
    pointer: '/fingerprint',
    code: 'claim_taken',
    message: `The principal "${owner.slice('principal/'.length)}" has this certificate already. Delete it, or give another fingerprint.`,
  }),
};

/** In a document a principal carries its name, as every entry of a list does. */
function withoutName(value: Json): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const { name: _name, ...rest } = value as { readonly [key: string]: Json };
  return rest;
}

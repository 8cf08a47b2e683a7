import type { SubjectKind } from '#features/history/subject-kind.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';

/** Ten times what any mapping may have. Large bodies are for many values, not for large ones, and each fault of a value costs time and memory to say. */
const MOST_MEMBERS = 1_000;

/** @throws DomainError invalid `value_too_large` for a value of a named kind with more members than any of them could have, before it is looked at in earnest. */
export function checkSize(kind: SubjectKind, value: Json): void {
  if (!kind.isNamed || countMembers(value, MOST_MEMBERS) >= 0) return;
  const message = `A ${kind.name} has at most ${MOST_MEMBERS} members in all, those of its lists and objects counted.`;
  throw new DomainError('invalid', 'value_too_large', message, { errors: [{ pointer: '', code: 'value_too_large', message }] });
}

/** How many of `left` members remain when those of the value are taken off; negative as soon as they do not suffice. */
function countMembers(value: Json, left: number): number {
  if (typeof value !== 'object' || value === null) return left;
  const members: readonly Json[] = Array.isArray(value) ? value : Object.values(value);
  let remaining = left - members.length;
  for (let i = 0; i < members.length && remaining >= 0; i++) remaining = countMembers(members[i] ?? null, remaining);
  return remaining;
}

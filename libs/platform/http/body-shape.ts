import type { z } from 'zod';

import { DomainError, type FieldError } from '#platform/kernel/errors.js';

import { pointerTo, quoted } from '../kernel/pointer.js';

/** Keys that reach an object's prototype in careless code. JSON can name them; no field of ours is called so. */
const forbiddenKeys: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/**
 * Reads a JSON body by its schema.
 * @throws DomainError `malformed` (400): the JSON is well-formed, but not of this shape. Codes: `body_not_object`,
 * `forbidden_key`, `unknown_field`, `missing_field`, `wrong_type`.
 */
export function readBody<T extends z.ZodType>(schema: T, body: unknown): z.infer<T> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw malformed([{ pointer: '', code: 'body_not_object', message: 'Send a JSON object.' }]);
  }
  const forbidden = findForbiddenKey(body, []);
  if (forbidden !== undefined) {
    const message = `No field can be called ${quoted(String(forbidden.at(-1)))}; remove it.`;
    throw malformed([{ pointer: pointerTo(...forbidden), code: 'forbidden_key', message }]);
  }
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  throw malformed(result.error.issues.flatMap((issue) => fieldErrors(issue, body)));
}

function malformed(errors: readonly FieldError[]): DomainError {
  const first = errors[0];
  if (first === undefined) throw new Error('a refused body must have an error');
  return new DomainError('malformed', first.code, first.message, { errors });
}

/** Looks three levels deep: no body of ours has more, and what has is refused by its schema. */
function findForbiddenKey(value: unknown, path: readonly (string | number)[]): (string | number)[] | undefined {
  if (typeof value !== 'object' || value === null || path.length > 3) return undefined;
  for (const [key, member] of Object.entries(value)) {
    if (forbiddenKeys.has(key)) return [...path, key];
    const found = findForbiddenKey(member, [...path, key]);
    if (found !== undefined) return found;
  }
  return undefined;
}

function fieldErrors(issue: z.core.$ZodIssue, body: object): FieldError[] {
  const path = issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step));
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => unknownField(path, key));
  }
  const pointer = pointerTo(...path);
  const value = path.reduce<unknown>((at, step) => (typeof at === 'object' && at !== null ? Reflect.get(at, step) : undefined), body);
  if (value === undefined) return [{ pointer, code: 'missing_field', message: `The field ${quoted(path.join('.'))} is missing.` }];
  const wanted =
    issue.code === 'invalid_type' ? ` It must be ${issue.expected === 'int' ? 'an integer' : `of type ${issue.expected}`}.` : '';
  return [{ pointer, code: 'wrong_type', message: `The field ${quoted(path.join('.'))} has the wrong type.${wanted}` }];
}

/** Longer than the name of any field of ours. */
const MOST_NAME = 64;

/** A name that is too long for any field is no slip of the pen but a value in the wrong place, a key perhaps: it is not repeated, nor recorded. */
function unknownField(path: readonly (string | number)[], key: string): FieldError {
  const code = 'unknown_field';
  if (key.length > MOST_NAME)
    return { pointer: pointerTo(...path), code, message: `A field here has a name of ${key.length} characters; there is none. Remove it.` };
  return { pointer: pointerTo(...path, key), code, message: `There is no field ${quoted(key)}; remove it, or check its spelling.` };
}

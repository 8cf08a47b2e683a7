import { z } from 'zod';

import { checkRequest, requestFields } from '#features/mapping/request-input.js';
import { readBody } from '#platform/http/body-shape.js';
import { DomainError, type FieldError } from '#platform/kernel/errors.js';
import type { Json, JsonObject } from '#platform/kernel/json.js';

import type { RouteTestState } from './route-test.js';

const fields = {
  request: z.strictObject(requestFields),
  expect: z.strictObject({
    mapping: z.string().optional().describe('The name of the mapping that gets it. Exactly one of mapping and none.'),
    none: z.literal(true).optional().describe('No mapping gets it.'),
    rewrittenPath: z.string().optional().describe('What the upstream is asked for, with its query.'),
    upstream: z.string().optional().describe('Whom it is asked of: http://usersvc:80.'),
  }),
};

/** The body of `PUT /v1/gateways/{gateway}/route-tests/{name}`. */
export const RouteTestInput = z.strictObject({ name: z.string().optional(), ...fields });

const MOST = { text: 8_192 } as const;

/** @throws DomainError malformed (shape) or invalid, every fault with its pointer. */
export function parseRouteTest(name: string, body: unknown): RouteTestState {
  const read = readBody(RouteTestInput, body);
  checkRouteTestName(name);
  const errors: FieldError[] = [];
  const add = (pointer: string, code: string, message: string) => errors.push({ pointer, code, message });
  if (read.name !== undefined && read.name !== name)
    add('/name', 'name_immutable', 'A route test keeps its name: make a new one and delete the old.');
  const { method, url, headers } = checkRequest(read.request, '/request', { add });
  const { mapping, none, rewrittenPath, upstream } = read.expect;
  if ((mapping === undefined) === (none === undefined))
    add('/expect/mapping', 'mapping_or_none', 'Say "mapping" (who gets it) or "none": true (nobody does), and not both.');
  if (none === true && rewrittenPath !== undefined)
    add('/expect/rewrittenPath', 'expectation_contradicts', 'When no mapping gets it, no path is rewritten; remove it.');
  if (none === true && upstream !== undefined)
    add('/expect/upstream', 'expectation_contradicts', 'When no mapping gets it, no upstream is asked; remove it.');
  for (const [member, text] of Object.entries({ mapping, rewrittenPath, upstream })) {
    if (text !== undefined && !new RegExp(`^[\\x21-\\x7e]{1,${MOST.text}}$`).test(text))
      add(`/expect/${member}`, 'expectation_invalid', `It is 1 to ${MOST.text} visible ASCII characters.`);
  }
  const [first] = errors;
  if (first !== undefined) throw new DomainError('invalid', first.code, `${first.pointer.slice(1)}: ${first.message}`, { errors });
  return {
    name,
    request: { method, url, headers },
    expect: {
      ...(mapping === undefined ? {} : { mapping }),
      ...(none === undefined ? {} : { none }),
      ...(rewrittenPath === undefined ? {} : { rewrittenPath }),
      ...(upstream === undefined ? {} : { upstream }),
    },
  };
}

/** @throws DomainError invalid `name_invalid`. */
export function checkRouteTestName(name: string): void {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) return;
  const message = 'A name is 1 to 64 letters, digits, dots, underscores and hyphens, and starts with a letter or digit.';
  throw new DomainError('invalid', 'name_invalid', message, { errors: [{ pointer: '', code: 'name_invalid', message }] });
}

/** A merge patch (RFC 7396) applied to a test, and checked as a whole. @throws DomainError as `parseRouteTest`. */
export function patchRouteTest(name: string, before: JsonObject, patch: Json): RouteTestState {
  return parseRouteTest(name, merged(before, patch));
}

function merged(before: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const members = new Map(Object.entries(isObject(before) ? before : {}));
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) members.delete(key);
    else members.set(key, merged(members.get(key), value));
  }
  return Object.fromEntries(members);
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

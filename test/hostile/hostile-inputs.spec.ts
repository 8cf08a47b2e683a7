import { describe, expect, test } from '@jest/globals';

import { defaultSettings } from '#features/gateway/gateway.js';
import { createMapping, upsertMapping } from '#features/mapping/mapping.js';
import { type MappingInput, parseAmbassadorMapping, parseMappingCreate } from '#features/mapping/mapping-input.js';
import type { Decide, View } from '#platform/eventstore/event-store.js';
import { parseStrictJson } from '#platform/http/strict-json.js';
import { DomainError } from '#platform/kernel/errors.js';

import type { Expectation, HostileCase } from './hostile-case.js';
import { hostileInputs } from './hostile-inputs.js';

/** A gateway with its default settings and no mapping. */
const view: View = {
  streamVersion: 1,
  subject: (subject) => ({
    subject,
    version: subject === 'gateway' ? 1 : 0,
    streamVersion: 1,
    schemaVersion: 1,
    state: subject === 'gateway' ? JSON.parse(JSON.stringify(defaultSettings)) : null,
    recordedAt: null,
  }),
};

const statusOf: Readonly<Record<string, number>> = { malformed: 400, invalid: 422 };

function refusal(read: () => MappingInput, decide: (input: MappingInput) => Decide): Expectation | undefined {
  try {
    decide(read())(view);
    return undefined;
  } catch (error) {
    if (!(error instanceof DomainError)) throw error;
    const first = error.errors[0];
    expect(first?.message).toMatch(/\S{2,}.*[.…]$/);
    expect(first?.code).toBe(error.code);
    return { status: statusOf[error.kind] ?? 0, code: error.code, pointer: first?.pointer ?? 'none' };
  }
}

function bodyOf(hostile: HostileCase, isAmbassador: boolean): unknown {
  if (hostile.raw !== undefined)
    return parseStrictJson(typeof hostile.raw === 'string' ? hostile.raw : Buffer.from(hostile.raw).toString());
  const { name, ...rest } = hostile.body ?? {};
  const sent = isAmbassador ? rest : { name, ...rest };
  return parseStrictJson(JSON.stringify(sent));
}

const decidable = hostileInputs.filter(({ httpOnly }) => httpOnly !== true);

describe('hostile inputs', () => {
  test('at least 200 cases, at least 15 of each class, each with a title of its own', () => {
    const classes = new Map<string, number>();
    for (const hostile of hostileInputs) classes.set(hostile.class, (classes.get(hostile.class) ?? 0) + 1);
    expect(hostileInputs.length).toBeGreaterThanOrEqual(200);
    expect([...classes].filter(([, count]) => count < 15)).toEqual([]);
    expect(new Set(hostileInputs.map((hostile) => `${hostile.class}: ${hostile.title}`)).size).toBe(hostileInputs.length);
  });

  test.each(decidable.filter(({ v1 }) => v1 !== null).map((hostile) => [hostile.class, hostile.title, hostile] as const))(
    'v1 %s: %s',
    (_class, _title, hostile) => {
      expect(refusal(() => parseMappingCreate(bodyOf(hostile, false)), createMapping)).toEqual(hostile.v1);
    },
  );

  test.each(decidable.filter(({ ambassador }) => ambassador !== null).map((hostile) => [hostile.class, hostile.title, hostile] as const))(
    'ambassador %s: %s',
    (_class, _title, hostile) => {
      expect(refusal(() => parseAmbassadorMapping(hostile.name, bodyOf(hostile, true)), upsertMapping)).toEqual(hostile.ambassador);
    },
  );

  test('nothing reached a prototype', () => {
    expect(Reflect.get({}, 'admin')).toBeUndefined();
  });
});

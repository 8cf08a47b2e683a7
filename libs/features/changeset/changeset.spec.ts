import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { defaultSettings } from '#features/gateway/gateway.js';
import { gatewayKind } from '#features/gateway/gateway.kind.js';
import { SubjectKinds } from '#features/history/subject-kind.js';
import { aMapping } from '#features/mapping/mapping.fixture.js';
import { mappingKind } from '#features/mapping/mapping.kind.js';
import { principalKind } from '#features/principal/principal.kind.js';
import { routeTestKind } from '#features/route-test/route-test.kind.js';
import type { SubjectRecord, View } from '#platform/eventstore/event-store.js';
import { contentHash } from '#platform/kernel/digest.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json, JsonObject } from '#platform/kernel/json.js';

import { applyChangeset, type Change, subjectsOf, type WrittenChange } from './changeset.js';
import type { SetRules } from './working-set.js';

const kinds = new SubjectKinds([gatewayKind, mappingKind(new Set()), principalKind, routeTestKind]);
const rules: SetRules = { kinds, mayConfigure: true, room: Number.POSITIVE_INFINITY, quarantined: [], overrideQuarantine: false };

/** A gateway whose subjects have these states, each at version 3. */
function given(states: Readonly<Record<string, object>>) {
  const all = new Map(
    Object.entries({ gateway: defaultSettings, ...states }).map(([name, state]) => [name, JSON.parse(JSON.stringify(state)) as JsonObject]),
  );
  const when = (changes: readonly WrittenChange[], more: Partial<SetRules> = {}) => {
    const named = new Set(subjectsOf(changes, kinds));
    const view: View = {
      streamVersion: 9,
      subject(subject): SubjectRecord {
        if (!named.has(subject)) throw new Error(`${subject} is looked at and was not named`);
        const state = all.get(subject) ?? null;
        return { subject, version: state === null ? 0 : 3, streamVersion: 9, schemaVersion: 1, state, recordedAt: null };
      },
    };
    return () => applyChangeset(changes, { ...rules, ...more })(view);
  };
  return {
    when: (changes: readonly WrittenChange[], more: Partial<SetRules> = {}) => ({
      events: () => when(changes, more)().events.map(({ subject, type }) => `${subject} ${type}`),
      states: () => when(changes, more)().events.map(({ state }) => state),
      details: () => when(changes, more)().details,
      refusal: () => {
        try {
          when(changes, more)();
          return undefined;
        } catch (error) {
          if (!(error instanceof DomainError)) throw error;
          return { kind: error.kind, code: error.code, pointers: error.errors.map(({ pointer }) => pointer) };
        }
      },
    }),
  };
}

const put = (name: string, more: { readonly [key: string]: Json } = {}): Change => ({
  op: 'put',
  subject: `mapping/${name}`,
  value: { prefix: `/${name}/`, service: 'usersvc', ...more },
});
const patch = (name: string, value: Json): Change => ({ op: 'patch', subject: `mapping/${name}`, value });
const end = (name: string): Change => ({ op: 'delete', subject: `mapping/${name}` });
const living = (name: string, fields: Parameters<typeof aMapping>[1] = {}) => ({ [`mapping/${name}`]: aMapping(name, fields) });

describe('a changeset', () => {
  test('creates, changes and ends, with the number of its changes as details', () => {
    const { events, details } = given({ ...living('a'), ...living('b') }).when([put('c'), patch('a', { timeoutMs: 1 }), end('b')]);
    expect(events()).toEqual(['mapping/c MappingCreated', 'mapping/a MappingUpdated', 'mapping/b MappingDeleted']);
    expect(details()).toEqual({ changes: 3 });
  });

  test('of nothing, or of what is so already, has no events', () => {
    expect(given({}).when([]).events()).toEqual([]);
    expect(
      given(living('a'))
        .when([put('a'), patch('a', {})])
        .events(),
    ).toEqual([]);
  });

  test('goes in order: later changes see what earlier ones did', () => {
    expect(
      given({})
        .when([put('a'), patch('a', { timeoutMs: 7 })])
        .states(),
    ).toMatchObject([{ name: 'a', timeoutMs: 7 }]);
    expect(
      given({})
        .when([patch('a', {}), put('a')])
        .refusal(),
    ).toEqual({ kind: 'not_found', code: 'mapping_not_found', pointers: ['/changes/0/subject'] });
    expect(
      given(living('a'))
        .when([end('a'), patch('a', {})])
        .refusal()?.pointers,
    ).toEqual(['/changes/1/subject']);
  });

  test('has one event of each subject, which takes it from where it was to where it ends', () => {
    expect(
      given(living('a'))
        .when([end('a'), put('a', { timeoutMs: 8 })])
        .events(),
    ).toEqual(['mapping/a MappingUpdated']);
    expect(
      given(living('a'))
        .when([end('a'), put('a')])
        .events(),
    ).toEqual([]);
    expect(
      given({})
        .when([put('a'), end('a')])
        .events(),
    ).toEqual([]);
  });

  test('lets two mappings swap what they match, and refuses two that claim one match, both by name', () => {
    const two = { ...living('a'), ...living('b') };
    expect(
      given(two)
        .when([patch('a', { prefix: '/b/' }), patch('b', { prefix: '/a/' })])
        .events(),
    ).toHaveLength(2);
    expect(
      given({})
        .when([put('a', { prefix: '/x/' }), put('b'), put('c', { prefix: '/x/' })])
        .refusal(),
    ).toEqual({
      kind: 'conflict',
      code: 'claim_taken',
      pointers: ['/changes/2/value/prefix', '/changes/0/value/prefix'],
    });
  });

  test('judges each mapping by the settings at its place', () => {
    const settings: Change = { op: 'patch', subject: 'gateway', value: { defaultTimeoutMs: 77 } };
    expect(
      given({})
        .when([put('a'), settings, put('b')])
        .states(),
    ).toMatchObject([{ timeoutMs: 5000 }, { defaultTimeoutMs: 77 }, { timeoutMs: 77 }]);
    const loopback = put('l', { service: '127.0.0.1' });
    expect(given({}).when([loopback]).refusal()?.pointers).toEqual(['/changes/0/value/service']);
    expect(
      given({})
        .when([{ ...settings, value: { allowLoopbackUpstreams: true } }, loopback])
        .refusal(),
    ).toBeUndefined();
  });

  test.each<[string, readonly WrittenChange[], string, string, string[]]>([
    ['any shape', [end('no'), put('a', { x: 1 })], 'malformed', 'unknown_field', ['/changes/0/subject', '/changes/1/value/x']],
    [
      'the first, else',
      [end('no'), put('a', { prefix: 'x' })],
      'not_found',
      'mapping_not_found',
      ['/changes/0/subject', '/changes/1/value/prefix'],
    ],
    ['a stale version', [{ ...put('a'), ifVersion: 2 }], 'stale', 'version_mismatch', ['/changes/0/ifVersion']],
    ['the end of a gateway', [{ op: 'delete', subject: 'gateway' }], 'conflict', 'gateway_stays', ['/changes/0/subject']],
    ['an unknown kind', [{ op: 'delete', subject: 'target/x' }], 'invalid', 'subject_unknown', ['/changes/0/subject']],
    [
      'a value that is no mapping any more',
      [put('a', { methods: Array(1_001).fill('GET') })],
      'invalid',
      'value_too_large',
      ['/changes/0/value'],
    ],
    ['a value to a delete', [{ ...end('living'), value: {} }], 'malformed', 'unknown_field', ['/changes/0/value']],
    [
      'what is not a change',
      [new DomainError('malformed', 'wrong_type', 'no', { errors: [{ pointer: '/op', code: 'wrong_type', message: 'no' }] })],
      'malformed',
      'wrong_type',
      ['/changes/0/op'],
    ],
  ])('is refused for %s', (_title, changes, kind, code, pointers) => {
    expect(given(living('living')).when(changes).refusal()).toEqual({ kind, code, pointers });
  });

  test('compares ifVersion with the version before the set', () => {
    expect(
      given(living('a'))
        .when([
          { ...put('a', { timeoutMs: 1 }), ifVersion: 3 },
          { ...put('a', { timeoutMs: 2 }), ifVersion: 3 },
        ])
        .refusal(),
    ).toBeUndefined();
    expect(
      given({})
        .when([{ ...put('a'), ifVersion: 0 }])
        .refusal(),
    ).toBeUndefined();
    expect(
      given(living('a'))
        .when([{ ...put('a'), ifVersion: 0 }])
        .refusal()?.code,
    ).toBe('version_mismatch');
  });

  test('may change the settings for whom that is allowed; settings that stay the same are no change', () => {
    const change = (value: Json): Change => ({ op: 'patch', subject: 'gateway', value });
    const refused = given({})
      .when([put('a'), change({ defaultTimeoutMs: 1 })], { mayConfigure: false })
      .refusal();
    expect(refused).toEqual({ kind: 'forbidden', code: 'scope_missing', pointers: ['/changes/1/value'] });
    expect(
      given({})
        .when([put('a'), change({ defaultTimeoutMs: 5000 })], { mayConfigure: false })
        .events(),
    ).toHaveLength(1);
  });

  test('keeps within the room for mappings, counting what it ends', () => {
    const full = { ...living('a'), ...living('b') };
    expect(
      given(full)
        .when([put('c'), put('d'), put('e')], { room: 2 })
        .refusal(),
    ).toEqual({ kind: 'conflict', code: 'mapping_budget', pointers: ['/changes/2/subject'] });
    expect(
      given(full)
        .when([put('c'), end('a')], { room: 0 })
        .events(),
    ).toHaveLength(2);
    expect(
      given(full)
        .when([put('a', { timeoutMs: 1 })], { room: 0 })
        .events(),
    ).toHaveLength(1);
  });

  test('brings no quarantined state back, unless that is overridden, which is in the details', () => {
    const digest = contentHash(JSON.parse(JSON.stringify(aMapping('a', { timeoutMs: 9 }))));
    const quarantined = [{ subject: 'mapping/a', digest, id: 'q1', reason: 'bad' }];
    const sick = [put('b'), put('a', { timeoutMs: 9 })];
    expect(given(living('a')).when(sick, { quarantined }).refusal()).toEqual({
      kind: 'conflict',
      code: 'state_quarantined',
      pointers: ['/changes/1/value'],
    });
    expect(
      given(living('a'))
        .when([...sick, put('a', { timeoutMs: 8 })], { quarantined })
        .events(),
    ).toHaveLength(2);
    expect(given(living('a')).when(sick, { quarantined, overrideQuarantine: true }).details()).toEqual({
      changes: 2,
      overriddenQuarantines: ['q1'],
    });
  });

  test('is refused for a gateway that is not there', () => {
    const view: View = {
      streamVersion: 0,
      subject: (subject) => ({ subject, version: 0, streamVersion: 0, schemaVersion: 0, state: null, recordedAt: null }),
    };
    expect(() => applyChangeset([put('a')], rules)(view)).toThrow(expect.objectContaining({ code: 'gateway_not_found' }));
  });
});

describe('any set', () => {
  const name = fc.constantFrom('a', 'b', 'c');
  const timeoutMs = fc.constantFrom(1, 2, 0); // 0 is refused
  const change: fc.Arbitrary<Change> = fc.oneof(
    fc.tuple(name, timeoutMs).map(([one, ms]) => put(one, { timeoutMs: ms })),
    fc.tuple(name, timeoutMs).map(([one, ms]) => patch(one, { timeoutMs: ms })),
    name.map(end),
    fc.constantFrom(3000, 4000).map((ms): Change => ({ op: 'patch', subject: 'gateway', value: { defaultTimeoutMs: ms } })),
    name.map((one) => put(one)),
  );

  /** What is there after the changes, one by one as sets of one; undefined when any of them is refused. */
  const oneByOne = (states: Readonly<Record<string, object>>, changes: readonly Change[]) => {
    const present = new Map(Object.entries(states));
    for (const each of changes) {
      const step = given(Object.fromEntries(present)).when([each]);
      if (step.refusal() !== undefined) return undefined;
      const [state] = step.states();
      if (state === null) present.delete(each.subject);
      else if (state !== undefined) present.set(each.subject, state);
    }
    return present;
  };

  test('leaves what its changes leave one after the other, and is refused when any of them would be', () => {
    let refused = 0;
    let done = 0;
    fc.assert(
      fc.property(fc.uniqueArray(name), fc.array(change, { maxLength: 8 }), (there, changes) => {
        const before = Object.assign({ gateway: defaultSettings }, ...there.map((one) => living(one, { timeoutMs: 2 })));
        const expected = oneByOne(before, changes);
        const set = given(before).when(changes);
        expect(set.refusal() === undefined).toBe(expected !== undefined);
        if (expected === undefined) {
          refused += 1;
          return;
        }
        done += 1;
        const after = new Map(Object.entries(before));
        const subjects = set.events().map((event) => event.split(' ')[0] ?? '');
        expect(new Set(subjects).size).toBe(subjects.length);
        for (const [i, state] of set.states().entries()) {
          if (state === null) after.delete(subjects[i] ?? '');
          else after.set(subjects[i] ?? '', state);
        }
        const plain = (states: ReadonlyMap<string, unknown>) =>
          JSON.parse(JSON.stringify(Object.fromEntries([...states].sort(([a], [b]) => (a < b ? -1 : 1)))));
        expect(plain(after)).toEqual(plain(expected));
      }),
      { numRuns: 1_000, seed: 20_261_125, verbose: 1 },
    );
    expect([refused > 100, done > 100]).toEqual([true, true]);
  });
});

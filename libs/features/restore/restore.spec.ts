import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { defaultSettings, settingsToJson } from '#features/gateway/gateway.js';
import { gatewayKind } from '#features/gateway/gateway.kind.js';
import { documentDigest, type StatedSubject, toDocument } from '#features/history/configuration-document.js';
import { SubjectKinds } from '#features/history/subject-kind.js';
import { mappingKind } from '#features/mapping/mapping.kind.js';
import { principalKind } from '#features/principal/principal.kind.js';
import { routeTestKind } from '#features/route-test/route-test.kind.js';
import { contentHash } from '#platform/kernel/digest.js';
import { canonicalJson, type JsonObject } from '#platform/kernel/json.js';
import { runToEnd } from '#platform/kernel/turns.js';

import { confirmVersion, expireConfirmation, settleExpired } from './confirmation.js';
import { digestsOf, overriding, quarantinedAmong, quarantineId } from './quarantine.js';
import { planRevert, planRollback, requireAdminFor, type SubjectChange } from './restore.js';
import { mergeBack } from './three-way.js';

const rolledBack = (...given: Parameters<typeof planRollback>) => runToEnd(planRollback(...given)).events;
const plannedRevert = (...given: Parameters<typeof planRevert>) => runToEnd(planRevert(...given));

const kinds = new SubjectKinds([gatewayKind, mappingKind(new Set([5432])), principalKind, routeTestKind]);
const settings = settingsToJson(defaultSettings);

const mapping = (more: JsonObject = {}, name = 'user'): JsonObject => ({
  name,
  host: '*',
  prefix: `/${name}/`,
  path: null,
  service: 'usersvc',
  rewrite: '/',
  methods: [],
  headers: {},
  precedence: 0,
  timeoutMs: 5000,
  labels: {},
  ...more,
});

/** Undoes version 5, which took `mapping/user` from `before` to `after`, when it is `current`, last touched by version 9. */
function revert(before: JsonObject | null, after: JsonObject | null, current: JsonObject | null, more: Partial<SubjectChange> = {}) {
  const plan = plannedRevert({
    secrets: { at: new Date(0), lost: new Set() },
    kinds,
    version: 5,
    changes: [{ subject: 'mapping/user', before, after, ...more }],
    present: (subject) => ({ state: subject === 'gateway' ? settings : current, schemaVersion: 1, streamVersion: 9 }),
  });
  const [event] = plan.events;
  const conflicts = plan.conflicts.map(({ pointer }) => pointer);
  return { done: event === undefined ? 'nothing' : event.type, state: event?.state, conflicts, plan };
}

describe('undoing one version of a subject', () => {
  const a = mapping({ service: 'a' });
  const b = mapping({ service: 'b' });
  const c = mapping({ service: 'c' });

  test.each<[string, JsonObject | null, JsonObject | null, JsonObject | null, string, JsonObject | null | undefined, string[]]>([
    ['created, untouched since: ended', null, a, a, 'MappingDeleted', null, []],
    ['created, ended since: nothing', null, a, null, 'nothing', undefined, []],
    ['created, changed since: a conflict', null, a, b, 'nothing', undefined, ['']],
    ['changed, untouched since: back', a, b, b, 'MappingUpdated', a, []],
    ['changed, back already: nothing', a, b, a, 'nothing', undefined, []],
    ['changed, ended since: a conflict', a, b, null, 'nothing', undefined, ['']],
    ['changed, the same member changed since: a conflict', a, b, c, 'nothing', undefined, ['/service']],
    ['changed, another member changed since: both', a, b, { ...b, timeoutMs: 1 }, 'MappingUpdated', { ...a, timeoutMs: 1 }, []],
    ['ended, absent: made again', a, null, null, 'MappingCreated', a, []],
    ['ended, made again alike: nothing', a, null, a, 'nothing', undefined, []],
    ['ended, made again otherwise: a conflict', a, null, b, 'nothing', undefined, ['']],
  ])('%s', (_title, before, after, current, done, state, conflicts) => {
    expect(revert(before, after, current)).toMatchObject({ done, conflicts });
    expect(revert(before, after, current).state).toEqual(state);
  });

  test('labels and headers go back one by one, other lists and maps as a whole', () => {
    const before = mapping({ labels: { team: 'a', tier: '1' }, headers: { 'x-a': '1' }, methods: ['GET'] });
    const after = mapping({ labels: { team: 'b', new: 'n' }, headers: { 'x-a': '2' }, methods: ['GET', 'POST'] });
    const current = mapping({ labels: { team: 'b', new: 'n', later: 'l' }, headers: { 'x-a': '2', 'x-b': '9' }, methods: ['GET', 'POST'] });
    expect(revert(before, after, current).state).toEqual(
      mapping({ labels: { team: 'a', tier: '1', later: 'l' }, headers: { 'x-a': '1', 'x-b': '9' }, methods: ['GET'] }),
    );
    const clash = revert(before, after, { ...current, labels: { team: 'c', tier: '2', new: 'm' }, methods: ['PUT'] });
    expect(clash).toMatchObject({ done: 'nothing', conflicts: ['/labels/new', '/labels/team', '/labels/tier', '/methods'] });
    expect(clash.plan.conflicts[0]).toMatchObject({
      subject: 'mapping/user',
      laterVersion: 9,
      message: expect.stringMatching(/labels\/new/),
    });
  });

  test('a label with a slash in its name is named by a proper pointer', () => {
    const at = (value: string) => mapping({ labels: { 'a/b~c': value } });
    expect(revert(at('1'), at('2'), at('3')).conflicts).toEqual(['/labels/a~1b~0c']);
  });

  test('what goes back is checked as a write would be, against the settings of now', () => {
    const loopback = mapping({ service: '127.0.0.1:9001' });
    expect(revert(loopback, null, null)).toMatchObject({ done: 'nothing', conflicts: ['/service'] });
    // Sixteen headers are the most: one goes back, one came since.
    const headers = (...names: string[]) =>
      mapping({ headers: Object.fromEntries([...Array.from({ length: 15 }, (_, i) => `x-${i}`), ...names].map((name) => [name, '1'])) });
    expect(revert(headers('x-back'), headers(), headers())).toMatchObject({ done: 'MappingUpdated', conflicts: [] });
    expect(revert(headers('x-back'), headers(), headers('x-since'))).toMatchObject({ done: 'nothing', conflicts: ['/headers'] });
  });

  test('the settings go first, and the rest is judged by what they will be', () => {
    const allowing = { ...settings, allowLoopbackUpstreams: true };
    const loopback = mapping({ service: '127.0.0.1:9001' });
    const plan = plannedRevert({
      secrets: { at: new Date(0), lost: new Set() },
      kinds,
      version: 5,
      changes: [
        { subject: 'mapping/user', before: loopback, after: null },
        { subject: 'gateway', before: allowing, after: settings },
      ],
      present: (subject) => ({ state: subject === 'gateway' ? settings : null, schemaVersion: 1, streamVersion: 5 }),
    });
    expect(plan.conflicts).toEqual([]);
    expect(plan.events.map(({ type }) => type)).toEqual(['GatewayConfigured', 'MappingCreated']);
  });

  test('a gateway does not end, and what is no configuration is not touched', () => {
    expect(revert(null, settings, settings, { subject: 'gateway' })).toMatchObject({ done: 'nothing', conflicts: [''] });
    expect(revert(null, { x: 1 }, { x: 1 }, { subject: 'certificate/edge' })).toMatchObject({ done: 'nothing', conflicts: [''] });
  });

  test('what is left out is not looked at', () => {
    const plan = plannedRevert({
      secrets: { at: new Date(0), lost: new Set() },
      kinds,
      version: 5,
      changes: [{ subject: 'mapping/user', before: a, after: b }],
      present: () => ({ state: c, schemaVersion: 1, streamVersion: 9 }),
      leave: new Set(['mapping/user']),
    });
    expect(plan).toEqual({ events: [], conflicts: [] });
  });
});

describe('the merge', () => {
  const value = fc.constantFrom(1, 2, 'x', null);
  const state = fc.record({
    a: value,
    b: fc.option(value, { nil: undefined }),
    labels: fc.dictionary(fc.constantFrom('k', 'l', '__proto__', '1'), value),
  });
  const clean = (object: object) => JSON.parse(JSON.stringify(object)) as JsonObject;

  test('takes back exactly the change, whatever others did to other members', () => {
    fc.assert(
      fc.property(state, state, state, (one, two, three) => {
        const [before, after, current] = [clean(one), clean(two), clean(three)];
        expect(canonicalJson(mergeBack({ before, after, current: after }).state)).toBe(canonicalJson(before));
        expect(mergeBack({ before, after, current: before })).toEqual({ state: before, conflicts: [] });
        expect(mergeBack({ before, after: before, current })).toEqual({ state: current, conflicts: [] });
        const merged = mergeBack({ before, after, current });
        for (const pointer of merged.conflicts) expect(pointer).toMatch(/^\/(a|b|labels|labels\/(k|l|1|__proto__))$/);
        // Undoing again finds nothing but the same conflicts.
        expect(mergeBack({ before, after, current: merged.state })).toEqual(merged);
      }),
      { seed: 20261125, numRuns: 2_000 },
    );
  });
});

describe('a rollback', () => {
  const at = (subject: string, state: JsonObject | null): StatedSubject => ({ subject, state, schemaVersion: 1 });

  test('writes only what differs: creates, changes, ends, sorted by name', () => {
    const same = mapping({}, 'same');
    const now = [
      at('gateway', settings),
      at('mapping/new', mapping({}, 'new')),
      at('mapping/user', mapping({ service: 'b' })),
      at('mapping/same', same),
    ];
    const then = [
      at('mapping/same', same),
      at('mapping/gone', mapping({}, 'gone')),
      at('mapping/user', mapping({ service: 'a' })),
      at('gateway', settings),
    ];
    const events = rolledBack(kinds, now, then);
    expect(events.map(({ type, subject }) => [type, subject])).toEqual([
      ['MappingCreated', 'mapping/gone'],
      ['MappingDeleted', 'mapping/new'],
      ['MappingUpdated', 'mapping/user'],
    ]);
    expect(rolledBack(kinds, now, now)).toEqual([]);
  });

  test('restores the digest, whatever is there', () => {
    const names = ['a', 'b', 'c', 'd'];
    const configuration = fc
      .record({
        timeout: fc.constantFrom(1000, 2000),
        services: fc.dictionary(fc.constantFrom(...names), fc.constantFrom('one', 'two'), { noNullPrototype: true }),
      })
      .map(({ timeout, services }) => [
        at('gateway', { ...settings, defaultTimeoutMs: timeout }),
        ...Object.entries(services).map(([name, service]) => at(`mapping/${name}`, mapping({ service }, name))),
      ]);
    fc.assert(
      fc.property(configuration, configuration, (now, then) => {
        const states = new Map(now.map((one) => [one.subject, one]));
        for (const { subject, state, schemaVersion } of rolledBack(kinds, now, then))
          states.set(subject, { subject, state, schemaVersion });
        expect(documentDigest(toDocument(kinds, states.values()))).toBe(documentDigest(toDocument(kinds, then)));
      }),
      { seed: 20261125, numRuns: 500 },
    );
  });

  test('of settings needs admin', () => {
    const events = rolledBack(kinds, [at('gateway', settings)], [at('gateway', { ...settings, defaultTimeoutMs: 1 })]);
    expect(() => requireAdminFor(events, false)).toThrow(expect.objectContaining({ code: 'scope_missing' }));
    expect(() => requireAdminFor(events, true)).not.toThrow();
    expect(() => requireAdminFor([], false)).not.toThrow();
  });
});

describe('a quarantine', () => {
  const state = mapping();
  const digest = contentHash(state);
  const one = {
    id: quarantineId({ subject: 'mapping/user', digest }),
    subject: 'mapping/user',
    digest,
    reason: 'eats requests',
    gatewayVersion: 3,
    quarantinedBy: 'token/x',
  };
  const events = rolledBack(kinds, [], [{ subject: 'mapping/user', state, schemaVersion: 1 }]);

  test('is of one state of one subject', () => {
    expect(one.id).toMatch(/^[0-9a-f]{16}$/);
    expect(quarantinedAmong([one], digestsOf(events))).toEqual([{ subject: 'mapping/user', digest, id: one.id, reason: 'eats requests' }]);
    expect(quarantinedAmong([one], [{ subject: 'mapping/other', digest }])).toEqual([]);
    expect([...digestsOf([{ type: 'MappingDeleted', schemaVersion: 1, subject: 'mapping/user', state: null }])]).toEqual([]);
  });

  test('refuses, unless it is overridden, which is noted', () => {
    const found = quarantinedAmong([one], digestsOf(events));
    expect(() => overriding(found, false)).toThrow(expect.objectContaining({ code: 'state_quarantined', extra: { quarantined: found } }));
    expect(overriding(found, true)).toEqual({ overriddenQuarantines: [one.id] });
    expect(overriding([], false)).toEqual({});
  });
});

describe('a confirmation', () => {
  const awaited = { gateway: 'default', version: 5, deadline: '2026-11-25T12:00:00.000Z' };
  const by = { actor: 'token/x', reason: null, isOverdue: false };
  const view = (state: JsonObject | null) => ({
    streamVersion: 1,
    subject: (subject: string) => ({
      subject,
      version: state === null ? 0 : 1,
      streamVersion: 1,
      schemaVersion: 1,
      state,
      recordedAt: null,
    }),
  });
  const standing = (state: string) => view({ version: 5, state, deadline: awaited.deadline });

  test('is given once, in time, and not after the expiry', () => {
    expect(confirmVersion(awaited, by)(view(null))).toMatchObject([
      { type: 'VersionConfirmed', subject: 'confirmation/5', state: { version: 5, state: 'confirmed', confirmedBy: 'token/x' } },
    ]);
    expect(confirmVersion(awaited, { ...by, isOverdue: true })(standing('confirmed'))).toEqual([]);
    const late = expect.objectContaining({ code: 'confirmation_expired' });
    expect(() => confirmVersion(awaited, { ...by, isOverdue: true })(view(null))).toThrow(late);
    for (const state of ['expired', 'reverted', 'conflicted']) expect(() => confirmVersion(awaited, by)(standing(state))).toThrow(late);
  });

  test('expires only while nothing was said, and is settled once', () => {
    expect(expireConfirmation(awaited)(view(null))).toMatchObject([{ type: 'ConfirmationExpired', state: { state: 'expired' } }]);
    expect(expireConfirmation(awaited)(standing('confirmed'))).toEqual([]);
    const settle = settleExpired(awaited, { revertVersion: 6, conflicts: [] });
    expect(settle(standing('expired'))).toMatchObject([{ type: 'ConfirmationSettled', state: { state: 'reverted', revertVersion: 6 } }]);
    expect(settle(standing('reverted'))).toEqual([]);
    expect(settle(standing('confirmed'))).toEqual([]);
    expect(settleExpired(awaited, { revertVersion: null, conflicts: [{}] })(standing('expired'))).toMatchObject([
      { state: { state: 'conflicted' } },
    ]);
  });
});

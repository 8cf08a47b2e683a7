import { describe, expect, test } from '@jest/globals';
import { aMapping, given, inputOf } from './mapping.fixture.js';
import { createMapping, deleteMapping, patchMapping, replaceMapping, upsertMapping } from './mapping.js';

const gateway = { allowLoopbackUpstreams: false, defaultTimeoutMs: 7000 };
const input = inputOf('user', { prefix: '/user/' });
const state = { ...aMapping('user'), timeoutMs: 7000 };
const live = { gateway, 'mapping/user': state };

describe('create', () => {
  test("a new mapping is recorded whole, with the gateway's timeout and its match as claim", () => {
    expect(given({ gateway }).when(createMapping(input)).events()).toEqual([
      {
        type: 'MappingCreated',
        schemaVersion: 1,
        subject: 'mapping/user',
        claims: ['match:*:prefix:/user/'],
        state: {
          name: 'user',
          host: '*',
          prefix: '/user/',
          path: null,
          service: 'usersvc',
          rewrite: '/',
          methods: [],
          headers: {},
          precedence: 0,
          timeoutMs: 7000,
          labels: {},
        },
      },
    ]);
  });

  test('one that exists is a conflict, equal or not', () => {
    expect(given(live).when(createMapping(input)).refusal()).toEqual({ kind: 'conflict', code: 'mapping_exists', pointers: ['/name'] });
  });

  test('on a gateway that does not exist', () => {
    expect(given({}).when(createMapping(input)).refusal()).toMatchObject({ kind: 'not_found', code: 'gateway_not_found' });
  });

  test('loopback only where the gateway allows it, and never to our own ports', () => {
    const local = createMapping(inputOf('user', { prefix: '/user/', service: 'localhost:5432' }), { ownPorts: new Set([5432]) });
    const other = createMapping(inputOf('user', { prefix: '/user/', service: '127.0.0.1:9001' }), { ownPorts: new Set([5432]) });
    const open = { gateway: { ...gateway, allowLoopbackUpstreams: true } };
    expect(given({ gateway }).when(other).refusal()).toMatchObject({ code: 'service_loopback', pointers: ['/service'] });
    expect(given(open).when(local).refusal()).toMatchObject({ kind: 'invalid', code: 'service_own_port', pointers: ['/service'] });
    expect(given(open).when(other).events()).toHaveLength(1);
  });
});

describe('replace and upsert', () => {
  test('an equal state is nothing to do', () => {
    expect(given(live).when(replaceMapping(input)).events()).toEqual([]);
    expect(given(live).when(upsertMapping(input)).events()).toEqual([]);
  });

  test('what the new body leaves out has its default again', () => {
    const before = { gateway, 'mapping/user': { ...state, host: 'a.example.com', labels: { team: 'a' }, precedence: 3 } };
    expect(given(before).when(replaceMapping(input)).events()).toMatchObject([
      { type: 'MappingUpdated', state: { host: '*', labels: {}, precedence: 0 } },
    ]);
  });

  test('a mapping that is not there is not found by a replace, and created by an upsert', () => {
    expect(given({ gateway }).when(replaceMapping(input)).refusal()).toMatchObject({ kind: 'not_found', code: 'mapping_not_found' });
    expect(given({ gateway }).when(upsertMapping(input)).events()).toMatchObject([{ type: 'MappingCreated' }]);
  });
});

describe('merge patch', () => {
  const patch = (change: Parameters<typeof patchMapping>[1]) => patchMapping('user', change);

  test('names what changes and leaves the rest', () => {
    expect(
      given(live)
        .when(patch({ service: 'usersvc:8080', methods: ['PUT', 'GET'] }))
        .events(),
    ).toMatchObject([
      {
        type: 'MappingUpdated',
        state: { ...state, service: 'usersvc:8080', methods: ['GET', 'PUT'] },
        claims: ['match:*:prefix:/user/ GET', 'match:*:prefix:/user/ PUT'],
      },
    ]);
  });

  test('headers and labels merge, null removes', () => {
    const before = { gateway, 'mapping/user': { ...state, labels: { team: 'a', tier: '1' }, headers: { 'x-a': '1' } } };
    expect(
      given(before)
        .when(patch({ labels: { team: null, env: 'dev' }, headers: null }))
        .events(),
    ).toMatchObject([{ state: { labels: { tier: '1', env: 'dev' }, headers: {} } }]);
  });

  test('null is back to the default', () => {
    const before = { gateway, 'mapping/user': { ...state, host: 'a.example.com', timeoutMs: 1, precedence: 9, rewrite: '/x/' } };
    const events = given(before)
      .when(patch({ host: null, timeoutMs: null, precedence: null, rewrite: null }))
      .events();
    expect(events).toMatchObject([{ state: { host: '*', timeoutMs: 7000, precedence: 0, rewrite: '/' } }]);
  });

  test('from prefix to path takes both fields; one alone leaves two', () => {
    expect(
      given(live)
        .when(patch({ path: '/user' }))
        .refusal(),
    ).toMatchObject({ kind: 'invalid', code: 'prefix_and_path', pointers: ['/path'] });
    expect(
      given(live)
        .when(patch({ path: '/user', prefix: null }))
        .events(),
    ).toMatchObject([{ state: { path: '/user', prefix: null }, claims: ['match:*:path:/user'] }]);
  });

  test('the whole that results is checked, and an empty patch is nothing to do', () => {
    expect(
      given(live)
        .when(patch({ service: 'a b' }))
        .refusal(),
    ).toMatchObject({ code: 'service_bad_character', pointers: ['/service'] });
    expect(given(live).when(patch({})).events()).toEqual([]);
    expect(given({ gateway }).when(patch({})).refusal()).toMatchObject({ kind: 'not_found' });
  });
});

describe('delete', () => {
  test('ends the mapping, the last one too', () => {
    expect(given(live).when(deleteMapping('user')).events()).toEqual([
      { type: 'MappingDeleted', schemaVersion: 1, subject: 'mapping/user', state: null },
    ]);
  });

  test('what is not there: 404, or nothing to do as the original had it', () => {
    expect(given({ gateway }).when(deleteMapping('user')).refusal()).toMatchObject({ kind: 'not_found', code: 'mapping_not_found' });
    expect(
      given({ gateway })
        .when(deleteMapping('user', { ignoreMissing: true }))
        .events(),
    ).toEqual([]);
    expect(
      given({})
        .when(deleteMapping('user', { ignoreMissing: true }))
        .refusal(),
    ).toMatchObject({ code: 'gateway_not_found' });
  });
});

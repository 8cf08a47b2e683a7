import { describe, expect, test } from '@jest/globals';

import { defaultSettings, settingsToJson } from '#features/gateway/gateway.js';
import { aMapping } from '#features/mapping/mapping.fixture.js';
import { type MappingState, toJson } from '#features/mapping/mapping-state.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { type GatewayStates, renderDifference } from './render-difference.js';

const settings = settingsToJson(defaultSettings);
const states = (mappings: readonly MappingState[], more: JsonObject = {}): GatewayStates => ({
  version: 1,
  subjects: [['gateway', { ...settings, ...more }], ...mappings.map((one): [string, JsonObject] => [`mapping/${one.name}`, toJson(one)])],
});
const compared = (before: GatewayStates | null, after: GatewayStates | null) => renderDifference('default', before, after);
const named = (before: GatewayStates | null, after: GatewayStates | null) =>
  compared(before, after).changes.map(({ op, resource, name }) => `${op} ${resource} ${name}`);

const user = aMapping('user');
const grue = aMapping('grue', { service: 'gruesvc' });

describe('what changes in Envoy', () => {
  test('equal states, in whatever order, change nothing', () => {
    const { changes, renderSha256 } = compared(states([user, grue]), states([grue, user]));
    expect(changes).toEqual([]);
    expect(renderSha256.after).toBe(renderSha256.before);
  });

  test('a listener, and what of its connection manager', () => {
    const { changes } = compared(states([user]), states([user], { http: { address: '127.0.0.1', port: 8081 }, idleTimeoutMs: 6000 }));
    expect(changes.map(({ op, resource, name }) => [op, resource, name])).toEqual([['changed', 'listener', 'http']]);
    expect(changes[0]?.diff[0]).toEqual({ op: 'replace', pointer: '/address/socket_address/port_value', before: 8080, after: 8081 });
    expect(JSON.stringify(changes)).not.toContain('"virtual_hosts"');
  });

  test('several routes of one mapping are one change', () => {
    const { changes } = compared(states([user]), states([aMapping('user', { methods: ['GET', 'PUT'] })]));
    expect(changes).toMatchObject([{ resource: 'route', name: '_2a/user', op: 'changed' }]);
  });

  test('another order of the same routes is a change of their host, and only that', () => {
    const [a, b] = [aMapping('a', { prefix: '/x', headers: { a: '1' } }), aMapping('b', { prefix: '/x', headers: { b: '1' } })];
    const { changes } = compared(states([a, b]), states([a, { ...b, precedence: 1 }]));
    expect(changes).toMatchObject([{ resource: 'virtual_host', name: '_2a', op: 'changed', diff: [{ pointer: '/routes' }] }]);
    expect(changes[0]?.diff[0]).toMatchObject({
      before: ['chancery-marker', 'chancery-reserved', 'a', 'b'],
      after: ['chancery-marker', 'chancery-reserved', 'b', 'a'],
    });
  });

  test('a route that comes or goes is no change of its host; a cluster goes with its last route', () => {
    expect(named(states([user]), states([user, grue]))).toEqual(['added route _2a/grue', 'added cluster http-gruesvc-80']);
    expect(named(states([user, grue]), states([grue]))).toEqual(['removed route _2a/user', 'removed cluster http-usersvc-80']);
  });

  test('clusters are compared wherever they stand: above a number they stand in a file', () => {
    const many = Array.from({ length: 25 }, (_, i) => aMapping(`m${i}`, { prefix: `/m${i}/`, service: `s${i}` }));
    const found = named(states(many), states([...many, aMapping('more', { service: 'more' })]));
    expect(found).toEqual(['changed bootstrap bootstrap', 'added route _2a/more', 'added cluster http-more-80']);
  });

  test('a mapping that makes no sense, or a state that is none, harms no comparison', () => {
    const odd: GatewayStates = {
      version: 2,
      subjects: [
        ['mapping/user', { prefix: 7 } as JsonObject],
        ['other', {}],
      ],
    };
    expect(named(states([user]), odd)).toEqual(['removed route _2a/user', 'removed cluster http-usersvc-80']);
  });

  test('there was nothing before the first version', () => {
    const { renderSha256, changes } = compared(null, states([]));
    expect(renderSha256.before).toBeNull();
    expect(changes.every(({ op }) => op === 'added')).toBe(true);
    expect(compared(states([]), null).changes.every(({ op }) => op === 'removed')).toBe(true);
    expect(compared(null, null)).toEqual({ changes: [], renderSha256: { before: null, after: null } });
  });

  test('the secret of no node is in it', () => {
    const marker = compared(null, states([])).changes.find(({ name }) => name.endsWith('chancery-marker'));
    expect(JSON.stringify(marker)).toContain('"exact":""');
  });
});

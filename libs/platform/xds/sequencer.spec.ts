import { describe, expect, test } from '@jest/globals';

import { modelResource } from './envoy-model.fixture.js';
import type { SequencerRequest } from './requests.js';
import { ResourceSet } from './resource-set.js';
import { Sequencer } from './sequencer.js';
import { CLUSTER_TYPE, ENDPOINT_TYPE, EXTENSION_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE, type XdsResource } from './xds-resource.js';

const timing = { warmDeadlineMs: 3_000, removalGraceMs: 5_000, warmingIntervalMs: 250, listenerIntervalMs: 10_000 };
const request = (typeUrl: string, more: Partial<SequencerRequest> = {}): SequencerRequest => ({
  typeUrl,
  nonce: '',
  error: undefined,
  subscribe: [],
  unsubscribe: [],
  initial: {},
  ...more,
});
const cluster = (name: string, rev = '1') => modelResource(CLUSTER_TYPE, name, { rev });
const endpoint = (name: string, rev = '1') => modelResource(ENDPOINT_TYPE, name, { rev });
const scope = (name: string, rev: string, ...needs: string[]) => modelResource(SCOPED_ROUTE_TYPE, name, { rev, needs });
const listener = (rev: string) => modelResource(LISTENER_TYPE, 'http', { rev });
const filter = (rev: string) => modelResource(EXTENSION_TYPE, 'filter', { rev });

/** A stream of an Envoy that holds all of these already; `sent` says what is written, as `name`, `-name`, in order. */
function holding(...resources: XdsResource[]) {
  const set = ResourceSet.of(resources);
  const sequencer = new Sequencer({ sets: [set], timing, protocol: 'delta', asksWarming: false });
  for (const typeUrl of [CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE, EXTENSION_TYPE]) {
    const initial = Object.fromEntries([...set.ofType(typeUrl).values()].map(({ name, version }) => [name, version]));
    const byName = typeUrl === ENDPOINT_TYPE || typeUrl === EXTENSION_TYPE;
    sequencer.receive(request(typeUrl, byName ? { subscribe: Object.keys(initial), initial } : { wildcard: true, initial }), 0);
  }
  const nonces = new Map<string, string>();
  const sent = (now = 0): string[] => {
    const lines: string[] = [];
    for (let out = sequencer.next(now); out !== undefined; out = sequencer.next(now)) {
      nonces.set(out.typeUrl, out.nonce);
      const kind = out.typeUrl.split('.').at(-1);
      lines.push([kind, ...out.resources.map(({ name }) => name), ...out.removed.map((name) => `-${name}`)].join(' '));
    }
    return lines;
  };
  const answer = (typeUrl: string, now = 0, error?: string) =>
    sequencer.receive(request(typeUrl, { nonce: nonces.get(typeUrl) ?? '', error }), now);
  const change = (upserts: XdsResource[], removed: XdsResource[] = [], now = 0) => {
    set.apply({ upserts, removed });
    sequencer.setChanged(now);
  };
  for (const typeUrl of [CLUSTER_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE]) {
    sent();
    answer(typeUrl); // a type of nothing is answered once, with nothing
  }
  return { set, sequencer, sent, answer, change };
}

describe('what goes when', () => {
  test('a change of a route is one response, at once', () => {
    const { sent, change } = holding(cluster('c'), endpoint('c'), scope('s', '1', 'c'), scope('t', '1'));
    change([scope('s', '2', 'c')]);
    expect(sent()).toEqual(['ScopedRouteConfiguration s']);
  });

  test('a new cluster goes first, its routes when it is acknowledged, and what has nothing to do with it at once', () => {
    const { sent, change, answer } = holding(scope('s', '1'), scope('t', '1'));
    change([cluster('c'), endpoint('c'), scope('s', '2', 'c'), scope('t', '2')]);
    expect(sent()).toEqual(['Cluster c', 'ScopedRouteConfiguration t']);
    answer(SCOPED_ROUTE_TYPE);
    expect(sent()).toEqual([]);
    answer(CLUSTER_TYPE);
    expect(sent()).toEqual(['ScopedRouteConfiguration s']);
  });

  test('a changed cluster is followed by its endpoints, the same bytes too', () => {
    const { sent, change } = holding(cluster('c'), endpoint('c'));
    change([cluster('c', '2')]);
    expect(sent()).toEqual(['Cluster c', 'ClusterLoadAssignment c']);
  });

  test('what was superseded while a response was on its way is never sent', () => {
    const { set, sent, change, answer, sequencer } = holding(scope('s', '1'));
    change([scope('s', '2')]);
    sent();
    for (const rev of ['3', '4', '5']) change([scope('s', rev)]);
    expect(sent()).toEqual([]);
    answer(SCOPED_ROUTE_TYPE);
    expect(sent()).toEqual(['ScopedRouteConfiguration s']);
    answer(SCOPED_ROUTE_TYPE);
    expect(sequencer.types[SCOPED_ROUTE_TYPE].held.get('s')?.version).toBe(set.get(scope('s', '5'))?.version);
    expect(sequencer.effects(0).settled).toBe(set.revision);
  });

  test('new scopes, then the filter that chooses them, then the old scopes go', () => {
    const { sent, change, answer } = holding(filter('1'), scope('s', '1'));
    change([filter('2'), scope('t', '1')], [scope('s', '1')]);
    expect(sent()).toEqual(['ScopedRouteConfiguration t']);
    answer(SCOPED_ROUTE_TYPE);
    expect(sent()).toEqual(['TypedExtensionConfig filter']);
    answer(EXTENSION_TYPE);
    expect(sent()).toEqual(['ScopedRouteConfiguration -s']);
  });

  test('a refused filter leaves the scopes that the old one chooses', () => {
    const { sent, change, answer } = holding(filter('1'), scope('s', '1'));
    change([filter('2')], [scope('s', '1')]);
    expect(sent()).toEqual(['TypedExtensionConfig filter']);
    answer(EXTENSION_TYPE, 0, 'no');
    expect(sent(100_000)).toEqual([]);
    change([filter('3')]);
    expect(sent()).toEqual(['TypedExtensionConfig filter']);
    answer(EXTENSION_TYPE);
    expect(sent()).toEqual(['ScopedRouteConfiguration -s']);
  });

  test('a cluster goes a grace after its last route, and not at all when it is wanted again', () => {
    const { sent, change, answer, sequencer } = holding(cluster('c'), endpoint('c'), scope('s', '1', 'c'));
    change([scope('s', '2')], [cluster('c'), endpoint('c')], 1_000);
    expect(sent(1_000)).toEqual(['ScopedRouteConfiguration s']);
    answer(SCOPED_ROUTE_TYPE, 2_000);
    expect(sent(2_000)).toEqual([]);
    expect(sequencer.wakeAt(2_000)).toBe(7_000);
    change([cluster('c'), endpoint('c')], [], 3_000);
    expect(sent(8_000)).toEqual([]);
    change([], [cluster('c'), endpoint('c')], 9_000);
    expect(sent(9_000)).toEqual([]);
    expect(sent(14_000)).toEqual(['Cluster -c']);
  });

  test('a listener that changes again and again waits for its turn, the filter behind it as well, and nothing else', () => {
    const { set, sent, change, answer, sequencer } = holding(listener('0'), filter('0'), scope('s', '0'));
    for (let n = 1; n <= 20; n++) {
      change([listener(String(n))]);
      expect(sent()).toEqual(['Listener http']);
      answer(LISTENER_TYPE);
    }
    change([listener('21'), filter('21'), scope('s', '21')], [], 1_000);
    expect(sent(1_000)).toEqual(['ScopedRouteConfiguration s']);
    answer(SCOPED_ROUTE_TYPE, 1_000);
    change([listener('22')], [], 2_000);
    expect(sent(2_000)).toEqual([]);
    expect(sequencer.effects(2_000).settled).toBe(set.revision - 2);
    expect(sequencer.wakeAt(5_000)).toBe(10_000);
    expect(sent(10_000)).toEqual(['Listener http', 'TypedExtensionConfig filter']);
    answer(LISTENER_TYPE, 10_000);
    answer(EXTENSION_TYPE, 10_000);
    expect(sequencer.effects(10_000).settled).toBe(set.revision);
    change([listener('23')], [], 11_000);
    expect([sent(19_999), sent(20_000)]).toEqual([[], ['Listener http']]);
    answer(LISTENER_TYPE, 20_000);
    // After a quiet time many may go at once again.
    for (let n = 24; n <= 43; n++) {
      change([listener(String(n))], [], 300_000);
      expect(sent(300_000)).toEqual(['Listener http']);
      answer(LISTENER_TYPE, 300_000);
    }
    change([listener('44')], [], 300_000);
    expect(sent(300_000)).toEqual([]);
  });

  test('of several that are refused, the one that the message names is tried alone', () => {
    const { sent, change, answer, sequencer } = holding(scope('one', '1'), scope('two', '1'), scope('three', '1'));
    change([scope('one', '2'), scope('two', '2'), scope('three', '2')]);
    sent();
    answer(SCOPED_ROUTE_TYPE, 0, 'scope two is wrong');
    expect(sent()).toEqual(['ScopedRouteConfiguration two']);
    answer(SCOPED_ROUTE_TYPE, 0, 'wrong');
    expect(sent()).toEqual(['ScopedRouteConfiguration one three']);
    answer(SCOPED_ROUTE_TYPE);
    expect(sent()).toEqual([]);
    expect(sequencer.effects(0)).toMatchObject({ rejected: [{ key: { name: 'two' }, message: 'wrong' }], settled: 2 });
  });
});

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { digestOfSets, ResourceSet } from './resource-set.js';
import { CLUSTER_TYPE, type ResourceChange, resourceId, SCOPED_ROUTE_TYPE, type XdsResource } from './xds-resource.js';

const resource = (name: string, version: string, typeUrl = SCOPED_ROUTE_TYPE, needs: string[] = []): XdsResource => ({
  typeUrl,
  name,
  version,
  value: Buffer.from(version),
  needs,
});
const put = (...upserts: XdsResource[]): ResourceChange => ({ upserts, removed: [] });
const drop = (...names: string[]): ResourceChange => ({
  upserts: [],
  removed: names.map((name) => ({ typeUrl: SCOPED_ROUTE_TYPE, name })),
});
const told = (change: ResourceChange | undefined) =>
  change && [...change.upserts.map(({ name, version }) => `${name}@${version}`), ...change.removed.map(({ name }) => `-${name}`)].sort();

describe('a set of resources', () => {
  test('holds by type and name', () => {
    const set = ResourceSet.of([resource('a', '1'), resource('a', '7', CLUSTER_TYPE)]);
    expect(set.size).toBe(2);
    expect(set.get({ typeUrl: CLUSTER_TYPE, name: 'a' })?.version).toBe('7');
    expect([...set.ofType(SCOPED_ROUTE_TYPE).keys()]).toEqual(['a']);
    expect(set.ofType('another').size).toBe(0);
    expect([...set].map(resourceId).sort()).toEqual([`${CLUSTER_TYPE}/a`, `${SCOPED_ROUTE_TYPE}/a`]);
  });

  test('a change of nothing is no revision', () => {
    const set = ResourceSet.of([resource('a', '1')]);
    expect(set.revision).toBe(1);
    expect(set.apply(put(resource('a', '1')))).toBe(1);
    expect(set.apply(drop('b'))).toBe(1);
    expect(set.apply(put(resource('a', '2')))).toBe(2);
    expect(new ResourceSet().revision).toBe(0);
  });

  test('a change that names a resource twice is refused, and nothing of it is done', () => {
    const set = ResourceSet.of([resource('a', '1')]);
    const before = set.digest;
    expect(() => set.apply({ upserts: [resource('b', '1'), resource('a', '2')], removed: drop('a').removed })).toThrow('twice');
    expect([set.digest, set.revision, set.size]).toEqual([before, 1, 1]);
  });

  test('tells which clusters are needed by something', () => {
    const set = ResourceSet.of([resource('a', '1', SCOPED_ROUTE_TYPE, ['x', 'y']), resource('b', '1', SCOPED_ROUTE_TYPE, ['y'])]);
    set.apply(put(resource('a', '2', SCOPED_ROUTE_TYPE, ['z'])));
    expect(['x', 'y', 'z'].map((cluster) => set.needs(cluster))).toEqual([false, true, true]);
    set.apply(drop('a', 'b'));
    expect(['x', 'y', 'z'].map((cluster) => set.needs(cluster))).toEqual([false, false, false]);
  });
});

describe('its digest', () => {
  test('is there for an empty set, and comes back when everything is gone', () => {
    const set = new ResourceSet();
    expect(set.digest).toBe('0'.repeat(64));
    set.apply(put(resource('a', '1'), resource('b', '1')));
    expect(set.digest).not.toBe('0'.repeat(64));
    set.apply(drop('a', 'b'));
    expect(set.digest).toBe('0'.repeat(64));
  });

  test('is what it is written to be', () => {
    // printf '%s\0a\0001' type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration | sha256sum
    expect(ResourceSet.of([resource('a', '1')]).digest).toBe('583679934b429575734860e9ad38f2b0e475597f85935bb83f0d1920316ebef2');
  });

  test('names the content, not the way to it; parts add up', () => {
    const name = fc.constantFrom('a', 'b', 'c', 'd');
    const content = fc.dictionary(name, fc.constantFrom('1', '2', '3'));
    fc.assert(
      fc.property(fc.array(content), content, (detours, end) => {
        const set = new ResourceSet();
        for (const wanted of [...detours, end]) {
          const gone = [...set.ofType(SCOPED_ROUTE_TYPE).keys()].filter((held) => !(held in wanted));
          set.apply({ upserts: Object.entries(wanted).map(([key, version]) => resource(key, version)), removed: drop(...gone).removed });
        }
        const resources = Object.entries(end).map(([key, version]) => resource(key, version));
        expect(set.digest).toBe(ResourceSet.of(resources).digest);
        expect(set.digest).toBe(digestOfSets(resources.map((one) => ResourceSet.of([one]))));
        expect(set.size).toBe(resources.length);
      }),
    );
  });
});

describe('what changed since a revision', () => {
  test('is merged: each resource once, as it is now', () => {
    const set = ResourceSet.of([resource('a', '1'), resource('b', '1')]);
    set.apply(put(resource('a', '2'), resource('c', '1')));
    set.apply({ upserts: [resource('a', '3')], removed: drop('b').removed });
    set.apply(drop('c'));
    expect(told(set.changesSince(1))).toEqual(['-b', '-c', 'a@3']);
    expect(told(set.changesSince(2))).toEqual(['-b', '-c', 'a@3']);
    expect(told(set.changesSince(3))).toEqual(['-c']);
    expect(told(set.changesSince(4))).toEqual([]);
    expect(set.changesSince(1)).toBe(set.changesSince(1)); // merged once for all who ask
  });

  test('is not known of a revision to come, nor of one that is long gone', () => {
    const set = ResourceSet.of([resource('a', '0')]);
    expect(set.changesSince(2)).toBeUndefined();
    for (let i = 1; i <= 25_000; i++) set.apply(put(resource('a', String(i))));
    expect(set.changesSince(1)).toBeUndefined();
    expect(told(set.changesSince(20_000))).toEqual(['a@25000']);
  });

  test('is not known beyond a change that is larger than what is remembered', () => {
    const set = ResourceSet.of([resource('a', '1')]);
    set.apply(put(...Array.from({ length: 30_000 }, (_, i) => resource(`n${i}`, '1'))));
    expect(set.changesSince(1)).toBeUndefined();
    set.apply(put(resource('a', '2')));
    expect(told(set.changesSince(2))).toEqual(['a@2']);
  });

  test('brings a copy that follows it to the same content', () => {
    const step = fc.record({ upserts: fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.constantFrom('1', '2')), follow: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1 }), (steps) => {
        const set = new ResourceSet();
        const copy = new ResourceSet();
        let seen = 0;
        const follow = () => {
          const change = set.changesSince(seen);
          expect(change).toBeDefined();
          if (change !== undefined) copy.apply(change);
          seen = set.revision;
        };
        for (const { upserts, follow: now } of steps) {
          const gone = ['a', 'b', 'c'].filter((name) => !(name in upserts));
          set.apply({ upserts: Object.entries(upserts).map(([name, version]) => resource(name, version)), removed: drop(...gone).removed });
          if (now) follow();
        }
        follow();
        expect(copy.digest).toBe(set.digest);
      }),
    );
  });
});

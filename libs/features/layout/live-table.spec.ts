import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { aMapping } from '#features/mapping/mapping.fixture.js';
import type { MappingState } from '#features/mapping/mapping-state.js';
import { matchRoute, type RoutedRequest } from '#features/mapping/route-matcher.js';
import { buildRouteTable, type RouteTableRow } from '#features/mapping/route-table.js';
import { consistent, crossingTables } from '#features/mapping/table.arbitrary.js';
import type { XdsResource } from '#platform/xds/xds-resource.js';

import { requestsFor, sizings } from './differential.fixture.js';
import { type Aside, LiveTable } from './live-table.js';
import type { Phase } from './phase.js';
import { applyChange, routedBy } from './routed-shards.fixture.js';
import { mostTransitions } from './shard-filter.envoy.js';
import type { ShardSizing } from './shard-plan.js';

const seed = Number(process.env.CHANCERY_SEED ?? Math.trunc(Math.random() * 2 ** 31));
const settings = { allowLoopbackUpstreams: false, perRouteStats: 'auto' } as const;

const asides = new Map<string, Aside>([
  ['m3', { code: 'envoy_refused', drop: false }],
  ['m4', { code: 'envoy_refused', drop: true }],
]);

/** A table with everything that a worker keeps beside it. */
class Driven {
  readonly mappings = new Map<string, MappingState>();
  readonly held = new Map<string, XdsResource>();
  readonly table: LiveTable;
  phases: readonly Phase[] = [];

  constructor(readonly sizing: ShardSizing) {
    this.table = new LiveTable({ settings, sizing });
  }

  put(mapping: MappingState): void {
    this.mappings.set(mapping.name, mapping);
    this.table.put(mapping, asides.get(mapping.name));
  }

  remove(name: string): void {
    this.mappings.delete(name);
    this.table.remove(name);
  }

  /** Takes all changes that there are. */
  settle(): void {
    do applyChange(this.held, this.table.changes());
    while (this.table.unfinished);
    this.phases = this.table.phases;
  }

  /** The table that the reference asks: without what is dropped. */
  rows(): RouteTableRow[] {
    return buildRouteTable([...this.mappings.values()].filter(({ name }) => asides.get(name)?.drop !== true));
  }
}

function differences(driven: Driven, requests: readonly RoutedRequest[]): unknown[] {
  const table = driven.rows();
  return requests.flatMap((request) => {
    const expected = matchRoute(table, request)?.row.mapping ?? null;
    const routed = routedBy(driven.held, driven.phases, request);
    return routed === expected ? [] : [{ request, expected, routed, phases: driven.phases }];
  });
}

const hashes = (held: ReadonlyMap<string, XdsResource>) =>
  [...held.values()].map(({ typeUrl, name, version, needs }) => `${typeUrl} ${name} ${version} ${needs.join()}`).sort();

/** What a new table of the same mappings and plan gives out. */
function fromScratch(driven: Driven): Map<string, XdsResource> {
  const table = new LiveTable({ settings, sizing: driven.sizing, plan: driven.table.plan });
  for (const mapping of [...driven.mappings.values()].reverse()) table.put(mapping, asides.get(mapping.name));
  const held = new Map<string, XdsResource>();
  applyChange(held, table.changes());
  expect(table.unfinished).toBe(false);
  return held;
}

describe('shards answer as the table does', () => {
  const drawn = fc.sample(crossingTables, { numRuns: 160, seed });

  test(`160 random tables, 150 requests each (CHANCERY_SEED=${seed})`, () => {
    let matched = 0;
    const seen = new Set<string>();
    const divided = new Set<string>();
    for (const [i, mappings] of drawn.entries()) {
      const driven = new Driven(sizings[i % sizings.length] as ShardSizing);
      for (const mapping of mappings) driven.put(mapping);
      driven.settle();
      for (const { id, shards } of driven.phases) {
        seen.add(id.slice(0, 2));
        if (shards > 1) divided.add(id.slice(0, 2));
      }
      const requests = requestsFor(mappings, 150, seed + i);
      expect(differences(driven, requests).slice(0, 2)).toEqual([]);
      expect(driven.phases.length).toBeLessThanOrEqual(mostTransitions + 1);
      const table = driven.rows();
      matched += requests.filter((request) => matchRoute(table, request) !== undefined).length;
    }
    // Every kind of phase was asked, most of them divided, or the test would prove little.
    expect([...seen].sort()).toEqual(['ab', 'al', 'ar', 'eb', 'el', 'er', 'wb', 'wr']);
    expect([...divided]).toEqual(expect.arrayContaining(['ab', 'eb', 'er']));
    expect(matched).toBeGreaterThan(8000);
  }, 60_000);

  test(`after random puts and removes, step by step, and each step is as good as the one before or after it (CHANCERY_SEED=${seed})`, () => {
    for (const [i, mappings] of drawn.slice(0, 60).entries()) {
      const driven = new Driven(sizings[i % sizings.length] as ShardSizing);
      const order = consistent(mappings);
      const requests = requestsFor(mappings, 60, seed + 1000 + i);
      const steps = [...order.map((mapping) => () => driven.put(mapping)), ...stepsOf(driven, order, i)];
      for (const [at, step] of steps.entries()) {
        const isLookedAt = at % 5 === 0 && at > order.length / 2;
        if (isLookedAt) driven.settle();
        const before = driven.rows();
        step();
        if (isLookedAt) expect(stepwise(driven, before, requests)).toEqual([]);
        else if (at % 3 === 0) driven.settle();
      }
      driven.settle();
      expect(differences(driven, requests).slice(0, 2)).toEqual([]);
      expect(hashes(driven.held)).toEqual(hashes(fromScratch(driven)));
    }
  }, 120_000);
});

/** Removes, returns with another precedence, and edits of what decides where a row stands. */
function stepsOf(driven: Driven, mappings: readonly MappingState[], at: number): (() => void)[] {
  const change = fc.tuple(fc.constantFrom(...(mappings.length === 0 ? [aMapping('m0')] : mappings)), fc.integer({ min: 0, max: 5 }));
  return fc.sample(change, { numRuns: 40, seed: seed + at }).map(([mapping, kind]) => () => {
    if (kind === 0) driven.put(mapping);
    else if (kind <= 2) driven.remove(mapping.name);
    else if (kind === 3) driven.put({ ...mapping, precedence: 5 - mapping.precedence });
    else if (kind === 4) driven.put({ ...mapping, host: mapping.host === '*' ? 'example.com' : '*' });
    else driven.put({ ...mapping, prefix: '/us', path: null });
  });
}

/**
 * One change on its way: new shards first, then the filter, then the removals, then what waited for that. At no point does a request get an answer
 * that is neither the table's before nor the table's after it.
 */
function stepwise(driven: Driven, before: readonly RouteTableRow[], requests: readonly RoutedRequest[]): unknown[] {
  const after = driven.rows();
  const wrong: unknown[] = [];
  const look = (stage: string) => {
    for (const request of requests) {
      const allowed = [before, after].map((table) => matchRoute(table, request)?.row.mapping ?? null);
      const routed = routedBy(driven.held, driven.phases, request);
      if (!allowed.includes(routed)) wrong.push({ stage, request, allowed, routed });
    }
  };
  do {
    const change = driven.table.changes();
    applyChange(driven.held, { upserts: change.upserts, removed: [] });
    if (driven.phases.length > 0) look('old filter');
    driven.phases = driven.table.phases;
    look('new filter');
    applyChange(driven.held, change);
    look('removed');
  } while (driven.table.unfinished);
  return wrong.slice(0, 2);
}

describe('a live table', () => {
  const many = (count: number, fields: Parameters<typeof aMapping>[1] = {}) =>
    Array.from({ length: count }, (_, i) => aMapping(`m-${i}`, { service: `s${i % 3}`, ...fields }));
  const names = (list: readonly { readonly name: string }[]) => list.map(({ name }) => name);

  test('without mappings it has one shard, which has no routes', () => {
    const table = new LiveTable({ settings });
    const change = table.changes();
    expect(names(change.upserts)).toEqual(['ar.1.0']);
    expect(table.changes()).toEqual({ upserts: [], removed: [] });
  });

  test('a change of one mapping is one shard, whatever the table', async () => {
    const table = new LiveTable({ settings });
    const built = await table.buildInSlices(many(2000), () => undefined);
    const shards = table.phases.find(({ id }) => id === 'ab')?.shards ?? 0;
    expect(shards).toBe(32);
    expect(built.upserts.length).toBe(shards + 1 + 3);
    table.put(aMapping('m-7', { service: 's1', timeoutMs: 1 }));
    const change = table.changes();
    expect(names(change.upserts)).toEqual(table.scopesOf('m-7'));
    expect(table.mappingsOf(change.upserts[0]?.name ?? '')).toContain('m-7');
    expect(change.upserts[0]?.needs).toEqual(['http-s0-80', 'http-s1-80', 'http-s2-80']);
    table.put(aMapping('m-7', { service: 's1', timeoutMs: 1 }));
    expect(table.changes()).toEqual({ upserts: [], removed: [] });
  });

  test('it takes nothing while it is made in slices', async () => {
    const table = new LiveTable({ settings });
    for (const mapping of many(50)) table.put(mapping);
    const made = table.changesInSlices();
    expect(() => table.put(aMapping('x'))).toThrow('slices');
    expect(() => table.changes()).toThrow('slices');
    expect((await made).upserts.length).toBeGreaterThan(0);
    table.put(aMapping('x'));
  });

  test('clusters and the trust of https come with the first route that names them, and go with the last', () => {
    const table = new LiveTable({ settings });
    table.put(aMapping('a', { service: 'https://one' }));
    table.put(aMapping('b', { service: 'https://one' }));
    expect(names(table.changes().upserts)).toEqual(expect.arrayContaining(['upstream-trust', 'https-one-443']));
    table.remove('a');
    expect(table.changes().removed).toEqual([]);
    table.put(aMapping('b', { service: 'https://one' }), { code: 'envoy_refused', drop: false });
    expect(names(table.changes().removed)).toEqual(['upstream-trust', 'https-one-443']);
    expect([table.clusterOf('b'), table.statPrefixOf('b'), [...table.upstreams.keys()]]).toEqual([undefined, 'b', []]);
  });

  test('what makes no sense is refused by itself, and taken when the settings allow it', () => {
    const table = new LiveTable({ settings });
    table.put({ ...aMapping('bad'), host: 'Not Normal' });
    table.put({ ...aMapping('local'), service: '127.0.0.1:1' });
    table.put(aMapping('good'));
    table.changes();
    expect([...table.refused].map(([name, { code }]) => [name, code])).toEqual([
      ['bad', 'host_bad_character'],
      ['local', 'service_loopback'],
    ]);
    expect([table.scopesOf('bad'), table.scopesOf('local').length, table.clusterOf('local')]).toEqual([[], 1, undefined]);
    table.configure({ ...settings, allowLoopbackUpstreams: true });
    expect(names(table.changes().upserts)).toContain('http-127_2e0_2e0_2e1-1');
    table.remove('bad');
    expect([...table.refused]).toEqual([]);
  });

  test('a row that precedes others out of turn is copied to where they are, and is found there', () => {
    const table = new LiveTable({ settings });
    for (const mapping of many(400)) table.put(mapping);
    table.put(aMapping('first', { prefix: '/m', precedence: 1 }));
    table.changes();
    while (table.unfinished) table.changes();
    const [own, ...copies] = table.scopesOf('first');
    expect(own).toBe('ar.1.0');
    expect(copies.length).toBe(table.phases[0]?.shards);
    for (const scope of copies) expect(table.mappingsOf(scope)).toContain('first');
  });

  test('requests are counted up to 10,000 mappings, and then again below 8,000', async () => {
    const table = new LiveTable({ settings });
    const all = many(10_001);
    await table.buildInSlices(all.slice(1), () => undefined);
    expect(table.statPrefixOf('m-1')).toBe('m-1');
    table.put(all[0] ?? aMapping('x'));
    expect((await table.changesInSlices()).upserts.length).toBe(table.phases.reduce((sum, { shards }) => sum + shards, 0) - 1);
    expect(table.statPrefixOf('m-1')).toBeUndefined();
    for (const { name } of all.slice(5)) table.remove(name);
    table.changes();
    expect(table.statPrefixOf('m-1')).toBe('m-1');
  });
});

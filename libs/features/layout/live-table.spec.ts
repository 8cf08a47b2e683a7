import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { aMapping } from '#features/mapping/mapping.fixture.js';
import type { MappingState } from '#features/mapping/mapping-state.js';
import { matchRoute, type RoutedRequest } from '#features/mapping/route-matcher.js';
import { buildRouteTable, type RouteTableRow } from '#features/mapping/route-table.js';
import {
  consistent,
  crossingTables,
  headerWords,
  hostWords,
  methodWords,
  segmentPaths,
  valueWords,
} from '#features/mapping/table.arbitrary.js';
import type { XdsResource } from '#platform/xds/xds-resource.js';

import { type Aside, LiveTable } from './live-table.js';
import type { Phase } from './phase.js';
import { applyChange, routedBy } from './routed-shards.fixture.js';
import { mostTransitions } from './shard-filter.envoy.js';
import { ordinarySizing, type ShardSizing } from './shard-plan.js';

const seed = Number(process.env.CHANCERY_SEED ?? Math.trunc(Math.random() * 2 ** 31));
const settings = { allowLoopbackUpstreams: false, perRouteStats: 'auto' } as const;

/** Small, so that a table of a hundred rows has many shards, middle phases, and more copies than are allowed. */
const sizings: readonly ShardSizing[] = [
  { fewestRows: 1, mostRows: 4, rowsToAimAt: 2, mostShards: 64, crowd: 2, copies: 20, copiesPerRow: 1 },
  { fewestRows: 2, mostRows: 10, rowsToAimAt: 4, mostShards: 8, crowd: 8, copies: 2, copiesPerRow: 0 },
  { fewestRows: 1, mostRows: 3, rowsToAimAt: 2, mostShards: 256, crowd: 1000, copies: 10_000, copiesPerRow: 100 },
  ordinarySizing,
];

const anyRequest: fc.Arbitrary<RoutedRequest> = fc.record({
  host: fc
    .tuple(fc.constantFrom(...hostWords.map((host) => host.replace('*', 'x'))), fc.constantFrom('', ':80', '.'))
    .chain(([host, end]) => fc.constantFrom(host + end, host.toUpperCase() + end)),
  path: fc.tuple(segmentPaths, fc.constantFrom('', '', 'x', '/b', '?x=/a/b', '/?y')).map(([path, end]) => (path + end).replace('//', '/')),
  method: fc.constantFrom(...methodWords),
  headers: fc.dictionary(fc.constantFrom(...headerWords), fc.constantFrom(...valueWords), { maxKeys: 2, noNullPrototype: true }),
});

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

function requestsFor(mappings: readonly MappingState[], count: number, at: number): RoutedRequest[] {
  if (mappings.length === 0) return fc.sample(anyRequest, { numRuns: count, seed: seed + at });
  const aimed = fc.tuple(fc.constantFrom(...mappings), anyRequest, fc.boolean()).map(([mapping, request, isOwnHost]) => ({
    host: isOwnHost ? mapping.host.replace('*', 'x') : request.host,
    path: mapping.path ?? `${mapping.prefix}${request.path.slice(1)}`,
    method: mapping.methods[0] ?? request.method,
    headers: { ...request.headers, ...mapping.headers },
  }));
  return fc.sample(fc.oneof(anyRequest, aimed), { numRuns: count, seed: seed + at });
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
      const requests = requestsFor(mappings, 150, i);
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
      const requests = requestsFor(mappings, 60, 1000 + i);
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

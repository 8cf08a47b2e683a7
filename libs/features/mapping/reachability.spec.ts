import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { aMapping } from './mapping.fixture.js';
import { Reachability } from './reachability.js';
import { matchRoute } from './route-matcher.js';
import { buildRouteTable } from './route-table.js';
import { headerWords, hostWords, methodWords, pathWords, tables, valueWords } from './table.arbitrary.js';

const requests = fc.record({
  host: fc.constantFrom(...hostWords.map((host) => host.replace('*', 'x'))),
  path: fc.tuple(fc.constantFrom(...pathWords), fc.constantFrom('', 'x', '/b/c')).map(([path, rest]) => path + rest),
  method: fc.constantFrom(...methodWords, 'PUT'),
  headers: fc.dictionary(fc.constantFrom(...headerWords), fc.constantFrom(...valueWords), { noNullPrototype: true }),
});

describe('reachability', () => {
  test('what is said to be covered gets no request at all, in the reference matcher', () => {
    fc.assert(
      fc.property(tables, fc.array(requests, { minLength: 50, maxLength: 50 }), (mappings, asked) => {
        const reachability = new Reachability(mappings);
        const covered = new Set(mappings.flatMap(({ name }) => (reachability.coveredBy(name) === undefined ? [] : [name])));
        const table = buildRouteTable(mappings);
        for (const request of asked) {
          const { row } = matchRoute(table, request) ?? {};
          if (row !== undefined) expect(covered).not.toContain(row.mapping);
        }
      }),
      { numRuns: 300, seed: 20_261_125, verbose: 1 },
    );
  });

  test('the one that is asked first is named, by precedence', () => {
    const table = new Reachability([
      aMapping('low', { prefix: '/a/b/' }),
      aMapping('high', { prefix: '/a/', precedence: 2 }),
      aMapping('higher', { prefix: '/', precedence: 3 }),
      aMapping('apart', { prefix: '/a/', host: 'a.test' }),
    ]);
    expect(['low', 'high', 'higher', 'apart', 'nobody'].map((name) => table.coveredBy(name))).toEqual([
      'higher',
      'higher',
      undefined,
      undefined,
      undefined,
    ]);
  });

  test('costs little for ten thousand long prefixes', () => {
    const mappings = Array.from({ length: 10_000 }, (_, i) => aMapping(`m${i}`, { prefix: `/x${'x'.repeat(i % 500)}/${i}/` }));
    const start = performance.now();
    const table = new Reachability(mappings);
    expect(mappings.filter(({ name }) => table.coveredBy(name) !== undefined)).toEqual([]);
    expect(performance.now() - start).toBeLessThan(5_000);
  });
});

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { limits } from './limits.js';
import type { MappingState } from './mapping-state.js';
import { routeOrderKey } from './route-order.js';
import { buildRouteTable } from './route-table.js';

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,4}[a-z0-9])?$/);
const hostName = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join('.'));
const host = fc.oneof(
  fc.constant('*'),
  hostName,
  hostName.map((name) => `*.${name}`),
);
const mapping: fc.Arbitrary<MappingState> = fc
  .record({
    name: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,6}$/),
    host,
    prefix: fc.option(fc.stringMatching(/^\/[a-zA-Z0-9._~/-]{0,12}$/)),
    path: fc.stringMatching(/^\/[a-zA-Z0-9._~/-]{0,12}$/),
    service: fc.constant('usersvc'),
    rewrite: fc.constant('/'),
    methods: fc.subarray(['GET', 'POST', 'PUT']),
    headers: fc.dictionary(fc.stringMatching(/^[a-z]{1,3}$/), fc.constant('1'), { maxKeys: 3 }),
    precedence: fc.integer({ min: limits.precedenceMin, max: limits.precedenceMax }),
    timeoutMs: fc.constant(5000),
    labels: fc.constant({}),
  })
  .map((state) => (state.prefix === null ? state : { ...state, path: null }));

describe('the stored order of the route table', () => {
  test('keys sort, byte by byte, as the table does', () => {
    fc.assert(
      fc.property(fc.uniqueArray(mapping, { selector: ({ name }) => name, maxLength: 30 }), (mappings) => {
        const table = buildRouteTable(mappings);
        const byKey = table
          .map((row) => ({ mapping: row.mapping, key: Buffer.from(routeOrderKey(row)) }))
          .sort((a, b) => Buffer.compare(a.key, b.key));
        expect(byKey.map((row) => row.mapping)).toEqual(table.map((row) => row.mapping));
      }),
    );
  });

  test('a row has the same key whatever else is in the table', () => {
    fc.assert(
      fc.property(fc.uniqueArray(mapping, { selector: ({ name }) => name, minLength: 1, maxLength: 10 }), (mappings) => {
        const together = new Map(buildRouteTable(mappings).map((row) => [row.mapping, routeOrderKey(row)]));
        for (const state of mappings) expect(buildRouteTable([state]).map(routeOrderKey)).toEqual([together.get(state.name)]);
      }),
    );
  });
});

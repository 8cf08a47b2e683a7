import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { aMapping } from './mapping.fixture.js';
import type { MappingState } from './mapping-state.js';
import { matchRoute, rewrittenPath } from './route-matcher.js';
import { buildRouteTable } from './route-table.js';
import { tables } from './table.arbitrary.js';

const mapping = (name: string, fields: Parameters<typeof aMapping>[1]) => aMapping(name, fields);

function whoGets(
  mappings: MappingState[],
  host: string,
  path: string,
  more: { method?: string; headers?: Record<string, string | string[]> } = {},
) {
  return matchRoute(buildRouteTable(mappings), { host, path, method: more.method ?? 'GET', headers: more.headers ?? {} })?.row.mapping;
}

describe('which mapping gets a request', () => {
  test('the longest prefix, whatever the names and the order', () => {
    const all = [mapping('a', { prefix: '/' }), mapping('b', { prefix: '/user/admin/' }), mapping('c', { prefix: '/user/' })];
    expect(['/x', '/user/x', '/user/admin/x', '/user'].map((path) => whoGets(all, 'h', path))).toEqual(['a', 'c', 'b', 'a']);
  });

  test('a prefix is of text, not of segments', () => {
    expect(whoGets([mapping('us', { prefix: '/us' })], 'h', '/user/x')).toBe('us');
  });

  test('an exact path before any prefix; the query does not count', () => {
    const all = [mapping('p', { prefix: '/user/health' }), mapping('e', { path: '/user/health' })];
    expect(['/user/health', '/user/health?x=/y', '/user/healthy'].map((path) => whoGets(all, 'h', path))).toEqual(['e', 'e', 'p']);
  });

  test('hosts fall through: exact, longest wildcard, any', () => {
    const all = [
      mapping('any', { prefix: '/' }),
      mapping('wide', { host: '*.example.com', prefix: '/w/' }),
      mapping('narrow', { host: '*.a.example.com', prefix: '/n/' }),
      mapping('exact', { host: 'x.a.example.com', prefix: '/e/' }),
    ];
    expect(['/e/', '/n/', '/w/', '/z'].map((path) => whoGets(all, 'X.a.example.com:8080', path))).toEqual([
      'exact',
      'narrow',
      'wide',
      'any',
    ]);
    expect(['/e/', '/n/', '/w/'].map((path) => whoGets(all, 'y.example.com.', path))).toEqual(['any', 'any', 'wide']);
    expect(whoGets(all, 'example.com', '/w/')).toBe('any');
  });

  test('a narrower host wins over a longer prefix and a higher precedence', () => {
    const all = [mapping('any', { prefix: '/long/prefix/', precedence: 9 }), mapping('exact', { host: 'h', prefix: '/' })];
    expect(whoGets(all, 'h', '/long/prefix/x')).toBe('exact');
  });

  test('precedence wins over length, more conditions over fewer', () => {
    const all = [
      mapping('high', { prefix: '/a', precedence: 1 }),
      mapping('long', { prefix: '/a/b/' }),
      mapping('plain', { prefix: '/c/' }),
      mapping('get', { prefix: '/c/', methods: ['GET'] }),
      mapping('canary', { prefix: '/c/', methods: ['GET'], headers: { 'x-canary': '1' } }),
    ];
    expect(whoGets(all, 'h', '/a/b/c')).toBe('high');
    expect(whoGets(all, 'h', '/c/', { method: 'POST' })).toBe('plain');
    expect(whoGets(all, 'h', '/c/')).toBe('get');
    expect(whoGets(all, 'h', '/c/', { headers: { 'x-canary': ['0', '1'] } })).toBe('canary');
  });

  test('nobody', () => {
    expect(whoGets([mapping('a', { prefix: '/a/', methods: ['GET'] })], 'h', '/a/', { method: 'HEAD' })).toBeUndefined();
  });
});

describe('rewrites', () => {
  test.each([
    [{ prefix: '/user/' }, '/user/health', '/health'],
    [{ prefix: '/user/', rewrite: '/user/' }, '/user/health', '/user/health'],
    [{ prefix: '/user' }, '/user/health', '/health'],
    [{ prefix: '/user' }, '/user', '/'],
    [{ prefix: '/us' }, '/user', '/er'],
    [{ prefix: '/user/', rewrite: '/v1' }, '/user/x', '/v1x'],
    [{ path: '/ping', rewrite: '/health' }, '/ping?x=1', '/health?x=1'],
  ])('%j: %s -> %s', (fields, path, expected) => {
    const [row] = buildRouteTable([mapping('m', fields)]);
    expect(row === undefined ? undefined : rewrittenPath(row, path)).toBe(expected);
  });
});

describe('the order is total', () => {
  test('it does not depend on the order of the input', () => {
    fc.assert(
      fc.property(
        tables.chain((mappings) => fc.tuple(fc.constant(mappings), fc.shuffledSubarray(mappings, { minLength: mappings.length }))),
        ([mappings, shuffled]) => {
          expect(buildRouteTable(shuffled)).toEqual(buildRouteTable(mappings));
        },
      ),
    );
  });

  test('every row that a later row of the same host could beat by length, precedence or conditions stands behind it', () => {
    fc.assert(
      fc.property(tables, (mappings) => {
        const table = buildRouteTable(mappings);
        table.forEach((row, i) => {
          for (const later of table.slice(i + 1)) {
            if (later.host !== row.host) continue;
            expect(later.precedence).toBeLessThanOrEqual(row.precedence);
            if (later.precedence !== row.precedence || later.match.kind !== row.match.kind) continue;
            expect(later.match.value.length).toBeLessThanOrEqual(row.match.value.length);
          }
        });
      }),
    );
  });
});

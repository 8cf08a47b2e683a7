import fc from 'fast-check';

import { aMapping } from './mapping.fixture.js';
import type { MappingState } from './mapping-state.js';
import { matchClaims } from './match-claims.js';

/*
 * Random route tables out of few words, so that hosts, prefixes and conditions meet: in a table of random texts no two
 * mappings would ever compete for a request.
 */

export const hostWords = [
  '*',
  'example.com',
  'a.example.com',
  'b.a.example.com',
  '*.example.com',
  '*.a.example.com',
  '*.com',
  'other.test',
] as const;
export const pathWords = ['/', '/a', '/a/', '/a/b', '/a/b/', '/ab', '/a/b/c', '/%C3%A9/', '/x;y/', '/A/', '/a/b/c/d/'] as const;
export const methodWords = ['GET', 'POST', 'DELETE'] as const;
export const headerWords = ['x-a', 'x-b'] as const;
export const valueWords = ['1', '2', '%1', "'", '"q"'] as const;
const names = ['a', 'b', 'user', 'User', 'z-9', 'q.r', 'u_v', '0', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6'] as const;

const mappings: fc.Arbitrary<MappingState> = fc
  .record({
    name: fc.constantFrom(...names),
    host: fc.constantFrom(...hostWords),
    value: fc.constantFrom(...pathWords),
    isPath: fc.boolean(),
    rewrite: fc.constantFrom('/', '/r', '/r/'),
    methods: fc.subarray([...methodWords], { maxLength: 2 }),
    headers: fc.dictionary(fc.constantFrom(...headerWords), fc.constantFrom(...valueWords), { maxKeys: 2, noNullPrototype: true }),
    precedence: fc.constantFrom(0, 0, 0, 1, -1),
  })
  .map(({ name, value, isPath, ...rest }) => aMapping(name, { ...(isPath ? { path: value } : { prefix: value }), ...rest }));

/** Tables that the log could hold: no name and no claim twice. */
export const tables: fc.Arbitrary<MappingState[]> = tablesOf(mappings, 3 * names.length);

/** First segments that begin alike, so that prefixes like /us cross into /user/. */
export const segmentWords = ['', 'u', 'us', 'use', 'user', 'users', 'a', 'ab', 'A', '%C3%A9', 'x;y', 'o-1', 'o-2', 'o-3', 'o-31'] as const;
const endWords = ['', '', '/', '/', '/b', '/b/', '/b/c'] as const;
const manyNames = Array.from({ length: 120 }, (_, i) => `m${i}`);

/** The path words of larger tables: of each segment, with what may follow it. */
export const segmentPaths: fc.Arbitrary<string> = fc
  .tuple(fc.constantFrom(...segmentWords), fc.constantFrom(...endWords))
  .map(([segment, end]) => `/${segment}${end}`.replace('//', '/'));

const crossingMappings: fc.Arbitrary<MappingState> = fc
  .record({
    name: fc.constantFrom(...manyNames),
    host: fc.constantFrom(...hostWords, '*', '*', 'example.com'),
    value: segmentPaths,
    isPath: fc.constantFrom(true, false, false, false),
    service: fc.constantFrom('usersvc', 'https://other:8443', 'third', 'fourth'),
    methods: fc.subarray([...methodWords], { maxLength: 1 }),
    headers: fc.dictionary(fc.constantFrom(...headerWords), fc.constantFrom(...valueWords), { maxKeys: 1, noNullPrototype: true }),
    precedence: fc.constantFrom(0, 0, 0, 0, 0, 0, 1, -1, 7),
  })
  .map(({ name, value, isPath, ...rest }) => aMapping(name, { ...(isPath ? { path: value } : { prefix: value }), ...rest }));

/** Larger tables whose prefixes cross segments, on hosts that fall through to each other. */
export const crossingTables: fc.Arbitrary<MappingState[]> = tablesOf(crossingMappings, 150);

function tablesOf(of: fc.Arbitrary<MappingState>, maxLength: number): fc.Arbitrary<MappingState[]> {
  return fc.array(of, { maxLength, size: 'max' }).map(consistent);
}

/** Without those that the log would have refused beside the ones before them. */
export function consistent(drawn: readonly MappingState[]): MappingState[] {
  const taken = new Set<string>();
  return drawn.filter((mapping) => {
    const claims = [`name ${mapping.name}`, ...matchClaims(mapping)];
    if (claims.some((claim) => taken.has(claim))) return false;
    for (const claim of claims) taken.add(claim);
    return true;
  });
}

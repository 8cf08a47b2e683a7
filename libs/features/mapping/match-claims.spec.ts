import { expect, test } from '@jest/globals';

import { aMapping } from './mapping.fixture.js';
import { matchClaims } from './match-claims.js';

type Fields = Parameters<typeof aMapping>[1];

function collide(a: Fields, b: Fields): boolean {
  const taken = new Set(matchClaims(aMapping('a', { prefix: '/x/', ...a })));
  return matchClaims(aMapping('b', { prefix: '/x/', ...b })).some((claim) => taken.has(claim));
}

test.each<[string, boolean, Fields, Fields]>([
  ['the same match', true, {}, {}],
  ['the same match with another precedence, service and rewrite', true, { precedence: 5, service: 'a' }, { rewrite: '/y/' }],
  ['a host in another case', true, { host: 'A.example.com' }, { host: 'a.example.com.' }],
  ['another host', false, { host: 'a.example.com' }, { host: 'b.example.com' }],
  ['a host and any host', false, { host: 'a.example.com' }, {}],
  ['a method in common', true, { methods: ['GET', 'POST'] }, { methods: ['PUT', 'GET'] }],
  ['no method in common', false, { methods: ['GET'] }, { methods: ['POST'] }],
  ['one method beside any method: the narrower is asked first', false, { methods: ['GET'] }, {}],
  ['the same headers in another order and case', true, { headers: { 'x-a': '1', 'x-b': '2' } }, { headers: { 'X-B': '2', 'x-a': '1' } }],
  ['another header value', false, { headers: { 'x-a': '1' } }, { headers: { 'x-a': '2' } }],
  ['headers beside none', false, { headers: { 'x-a': '1' } }, {}],
  ['a method in common, other headers', false, { methods: ['GET'], headers: { 'x-a': '1' } }, { methods: ['GET'] }],
])('%s: collide = %s', (_title, expected, a, b) => {
  expect(collide(a, b)).toBe(expected);
});

test('a prefix and a path of the same text are two matches', () => {
  expect(matchClaims(aMapping('a', { path: '/x' }))).toEqual(['match:*:path:/x']);
  expect(matchClaims(aMapping('a', { prefix: '/x' }))).toEqual(['match:*:prefix:/x']);
});

test('a long claim stays below the limit of an index entry, and stays its own', () => {
  const claims = ['a', 'b'].map((end) => matchClaims(aMapping('m', { prefix: `/${'x'.repeat(2000)}${end}` })));
  expect(claims.flat().every((claim) => claim.length <= 512)).toBe(true);
  expect(claims[0]).not.toEqual(claims[1]);
});

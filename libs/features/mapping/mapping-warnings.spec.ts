import { describe, expect, test } from '@jest/globals';

import { aMapping } from './mapping.fixture.js';
import { mappingWarnings, type WarningContext } from './mapping-warnings.js';

function codes(fields: Parameters<typeof aMapping>[1], context: WarningContext = {}) {
  return mappingWarnings(aMapping('m', fields), context).map(({ code, pointer }) => `${code} ${pointer}`);
}

test('a service that discovery does not know, or was not asked about; not one that it knows or that is an address', () => {
  expect(codes({}, { isKnown: () => false })).toEqual(['unresolved_service /service']);
  expect(codes({}, { isKnown: () => undefined })).toEqual(['unverified_service /service']);
  expect(codes({}, { isKnown: () => true })).toEqual([]);
  expect(codes({ service: '10.0.0.1' }, { isKnown: () => false })).toEqual([]);
});

test('a timeout that a hot restart would cut', () => {
  expect(codes({ timeoutMs: 8000 }, { windowMs: 8000 })).toEqual(['timeout_exceeds_window /timeoutMs']);
  expect(codes({ timeoutMs: 7999 }, { windowMs: 8000 })).toEqual([]);
});

test('a rewrite that joins two segments', () => {
  expect(codes({ prefix: '/user/', rewrite: '/v1' })).toEqual(['rewrite_joins_segments /rewrite']);
  expect(codes({ prefix: '/user/', rewrite: '/v1/' })).toEqual([]);
  expect(codes({ prefix: '/user', rewrite: '/v1' })).toEqual([]);
});

describe('a mapping that no request can reach', () => {
  test.each<[string, boolean, Parameters<typeof aMapping>[1], Parameters<typeof aMapping>[1]]>([
    ['a shorter prefix of higher precedence', true, { prefix: '/a/b/' }, { prefix: '/a/', precedence: 1 }],
    ['a shorter prefix', false, { prefix: '/a/b/' }, { prefix: '/a/' }],
    ['higher precedence, but one method only', false, { prefix: '/a/b/' }, { prefix: '/a/', precedence: 1, methods: ['GET'] }],
    [
      'higher precedence, the same method',
      true,
      { prefix: '/a/b/', methods: ['GET'] },
      { prefix: '/a/', precedence: 1, methods: ['GET', 'PUT'] },
    ],
    ['higher precedence, another host', false, { prefix: '/a/b/', host: 'a.test' }, { prefix: '/a/', precedence: 1, host: 'b.test' }],
    [
      'higher precedence, a broader host, which is asked later',
      false,
      { prefix: '/a/b/', host: 'a.test' },
      { prefix: '/a/', precedence: 1 },
    ],
  ])('%s: %s', (_title, isShadowed, own, other) => {
    expect(codes(own, { others: [aMapping('other', other)] })).toEqual(isShadowed ? ['shadowed /prefix'] : []);
  });
});

describe('a mapping that makes another unreachable', () => {
  const warnings = (own: Parameters<typeof aMapping>[1], others: Parameters<typeof aMapping>[1][]) =>
    mappingWarnings(aMapping('m', own), { others: others.map((fields, i) => aMapping(`o${i}`, fields)) }).map(
      ({ code, message, pointer }) => `${code} ${pointer} ${/mapping (o\d)/.exec(message)?.[1]}`,
    );

  test('is told which', () => {
    expect(warnings({ prefix: '/a/', precedence: 1 }, [{ prefix: '/a/b/' }, { prefix: '/c/' }, { path: '/a/x' }])).toEqual([
      'makes_unreachable /prefix o0',
      'makes_unreachable /prefix o2',
    ]);
    expect(warnings({ path: '/a/x', precedence: 1 }, [{ path: '/a/x', methods: ['GET'] }])).toEqual(['makes_unreachable /path o0']);
  });

  test('hears nothing of one that could not be reached before either', () => {
    expect(warnings({ prefix: '/a/', precedence: 2 }, [{ prefix: '/a/b/' }, { prefix: '/a', precedence: 1 }])).toEqual([]);
  });
});

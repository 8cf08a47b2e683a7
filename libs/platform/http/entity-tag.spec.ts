import { describe, expect, it } from '@jest/globals';

import { entityTag, noneMatchHolds, parseIfMatch, streamTag } from './entity-tag.js';

describe('entity tags', () => {
  it('stand for one version in one state', () => {
    expect([entityTag(3), entityTag(3, 'live'), entityTag(3, 'pending')]).toEqual(['"3"', '"3"', '"3-pending"']);
    expect(streamTag(12)).toBe('"g12"');
  });

  it.each([
    ['*', { any: true }],
    ['"3"', { any: false, versions: [3] }],
    ['"3-pending"', { any: false, versions: [3] }],
    [' "3" ,"4-set_aside", "x,y"', { any: false, versions: [3, 4] }],
    ['W/"3"', { any: false, versions: [] }],
    ['""', { any: false, versions: [] }],
    ['"03"', { any: false, versions: [] }],
    ['"-1"', { any: false, versions: [] }],
    ['"99999999999999999999"', { any: false, versions: [] }],
    ['"g12"', { any: false, versions: [], streamVersion: 12 }],
    ['"3", "g0"', { any: false, versions: [3], streamVersion: 0 }],
    ['W/"g12"', { any: false, versions: [] }],
    ['"g012"', { any: false, versions: [] }],
  ])('reads If-Match: %s', (header, expected) => {
    expect(parseIfMatch(header)).toEqual(expected);
  });

  it.each(['', '3', '"3', '"3"x', '"3" "4"', '*, "3"', '"\u0007"', 'w/"3"'])('refuses If-Match: %j', (header) => {
    expect(() => parseIfMatch(header)).toThrow('If-Match must be');
  });

  it.each([
    [undefined, false],
    ['*', true],
    ['"3"', true],
    ['W/"3"', true],
    ['"4", "3"', true],
    ['"4"', false],
    ['"3-pending"', false],
  ])('compares If-None-Match: %s with "3"', (header, holds) => {
    expect(noneMatchHolds(header, '"3"')).toBe(holds);
  });
});

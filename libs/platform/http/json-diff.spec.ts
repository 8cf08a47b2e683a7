import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';

import { jsonDiff } from './json-diff.js';

describe('differences', () => {
  it('are none between equal values', () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => expect(jsonDiff(value as never, structuredClone(value) as never)).toEqual([])));
  });

  it('name each member, and lists as a whole', () => {
    expect(jsonDiff({ a: 1, b: { c: 1, d: [1] }, e: 0 }, { a: 2, b: { d: [1, 2], 'x/y': true } })).toEqual([
      { op: 'replace', pointer: '/a', before: 1, after: 2 },
      { op: 'remove', pointer: '/b/c', before: 1, after: null },
      { op: 'replace', pointer: '/b/d', before: [1], after: [1, 2] },
      { op: 'add', pointer: '/b/x~1y', before: null, after: true },
      { op: 'remove', pointer: '/e', before: 0, after: null },
    ]);
  });

  it('say of the whole that it came or went', () => {
    expect(jsonDiff(null, { a: 1 })).toEqual([{ op: 'add', pointer: '', before: null, after: { a: 1 } }]);
    expect(jsonDiff({ a: 1 }, null)).toEqual([{ op: 'remove', pointer: '', before: { a: 1 }, after: null }]);
  });
});

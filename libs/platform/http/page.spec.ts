import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';

import { decodeCursor, encodeCursor, nextLink, toPage } from './page.js';

describe('pages', () => {
  it('give every cursor back as it went out', () => {
    fc.assert(fc.property(fc.string(), (key) => expect(decodeCursor('names', 'string', encodeCursor('names', key))).toBe(key)));
    fc.assert(fc.property(fc.nat(), (key) => expect(decodeCursor('numbers', 'number', encodeCursor('numbers', key))).toBe(key)));
  });

  it('take only the cursors of their own list', () => {
    const faults = [
      encodeCursor('other', 'a'),
      encodeCursor('names', 7),
      '',
      'null',
      Buffer.from('null').toString('base64url'),
      '%',
      'x'.repeat(1000),
    ];
    for (const cursor of faults) expect(() => decodeCursor('names', 'string', cursor)).toThrow('This cursor does not belong to this list');
  });

  it('say that there is more only when there is', () => {
    const key = (n: number) => n;
    expect(toPage([1, 2, 3], 3, 'n', key)).toEqual({ items: [1, 2, 3], next: null });
    expect(toPage([1, 2, 3], 2, 'n', key)).toEqual({ items: [1, 2], next: encodeCursor('n', 2) });
    expect(toPage([], 2, 'n', key)).toEqual({ items: [], next: null });
  });

  it('link to the same query with the next cursor', () => {
    expect(nextLink('/v1/x?limit=2&cursor=old&label=a%3Db', 'new')).toBe('</v1/x?limit=2&cursor=new&label=a%3Db>; rel="next"');
  });
});

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { LeanMap } from './lean-map.js';

describe('a lean map', () => {
  test('is a map, whatever is done with it', () => {
    const step = fc.record({ key: fc.integer({ min: 0, max: 3 }), value: fc.option(fc.integer(), { nil: undefined }) });
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const [lean, map] = [new LeanMap<number, number>(), new Map<number, number>()];
        for (const { key, value } of steps) {
          if (value === undefined) expect(lean.delete(key)).toBe(map.delete(key));
          else map.set(key, lean.set(key, value).get(key) ?? Number.NaN);
          expect([...lean]).toEqual([...map]);
          expect([lean.size, lean.has(0), [...lean.keys()], [...lean.values()]]).toEqual([
            map.size,
            map.has(0),
            [...map.keys()],
            [...map.values()],
          ]);
        }
      }),
    );
  });

  test('may lose what it is walked through, as a map', () => {
    const lean = new LeanMap<string, number>().set('a', 1).set('b', 2);
    for (const [key] of lean) lean.delete(key);
    expect(lean.size).toBe(0);
  });
});

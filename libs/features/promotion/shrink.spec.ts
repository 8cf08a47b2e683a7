import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { type Inventory, isNamedOrder, shrinkOf } from './shrink.js';

const inventory = (count: number, hosts = 1, certificates = 0): Inventory => ({
  routes: new Map(Array.from({ length: count }, (_, i) => [`m${i}`, hosts === 1 ? '*' : `h${i % hosts}.example`])),
  certificates: new Set(Array.from({ length: certificates }, (_, i) => `c${i}`)),
});
const subjects = (from: number, to: number) => new Set(Array.from({ length: to - from }, (_, i) => `mapping/m${from + i}`));
const nobody = new Set<string>();

describe('a push that loses too much', () => {
  test.each([
    ['nothing changed', 20, 20, undefined],
    ['it grows', 20, 30, undefined],
    ['30 % and no more', 20, 14, undefined],
    ['more than 30 %', 20, 13, 7],
    ['everything', 20, 0, 20],
    ['nine objects are too few to say', 9, 0, undefined],
    ['ten are enough', 10, 6, 4],
  ])('%s', (_case, before, after, lost) => {
    expect(shrinkOf(inventory(before), inventory(after), nobody, 30)?.losses[0]?.lost).toBe(lost);
  });

  test('what was named one by one is the order itself, the last one too', () => {
    expect(shrinkOf(inventory(20), inventory(0), subjects(0, 20), 30)).toBeUndefined();
    expect(shrinkOf(inventory(20), inventory(0), subjects(14, 20), 30)?.losses).toMatchObject([{ kind: 'routes', before: 20, lost: 14 }]);
    expect(shrinkOf(inventory(20), inventory(0), subjects(6, 20), 30)).toBeUndefined();
  });

  test('hosts and certificates by themselves', () => {
    const hosts = shrinkOf(
      { ...inventory(100, 20) },
      {
        routes: new Map([...inventory(100, 20).routes].map(([name, host]) => [name, host < 'h2' ? host : 'h0.example'])),
        certificates: nobody,
      },
      nobody,
      30,
    );
    expect(hosts?.losses).toMatchObject([{ kind: 'hosts', before: 20, lost: 8 }]);
    const certificates = shrinkOf(inventory(1, 1, 12), inventory(1, 1, 4), nobody, 30);
    expect(certificates?.losses).toEqual([
      { kind: 'certificates', before: 12, lost: 8, names: ['c10', 'c11', 'c4', 'c5', 'c6', 'c7', 'c8', 'c9'] },
    ]);
  });

  test('another loss has another id, the same one the same; 100 % is never held', () => {
    const id = (after: number) => shrinkOf(inventory(20), inventory(after), nobody, 30)?.id;
    expect(id(3)).toBe(id(3));
    expect(id(3)).not.toBe(id(2));
    expect(shrinkOf(inventory(20), inventory(0), nobody, 100)).toBeUndefined();
  });

  test('an import names nothing', () => {
    expect(['DeleteMapping', 'ApplyChangeset', 'RollBack', 'RevertVersion', 'ImportConfiguration'].map(isNamedOrder)).toEqual([
      true,
      true,
      true,
      true,
      false,
    ]);
  });

  test('is one that loses more of its routes than the limit, and no other (one host)', () => {
    const names = fc.uniqueArray(fc.nat(60), { maxLength: 60 });
    fc.assert(
      fc.property(names, names, fc.integer({ min: 1, max: 99 }), (before, after, limit) => {
        const of = (numbers: readonly number[]): Inventory => ({
          routes: new Map(numbers.map((n) => [`m${n}`, '*'])),
          certificates: nobody,
        });
        const lost = before.filter((n) => !after.includes(n)).length;
        const tooMuch = before.length >= 10 && lost > (limit / 100) * before.length;
        const held = shrinkOf(of(before), of(after), nobody, limit);
        expect(held !== undefined).toBe(tooMuch);
      }),
      { seed: 30 },
    );
  });
});

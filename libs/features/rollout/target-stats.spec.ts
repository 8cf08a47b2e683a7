import { expect, test } from '@jest/globals';
import fc from 'fast-check';

import { addSample, type MappingSample, type MappingSums } from './target-stats.js';

const sample = (total: number, members = 1): MappingSample => ({
  healthyMembers: members,
  totalMembers: members,
  rq2xx: total,
  rq3xx: 0,
  rq4xx: 0,
  rq5xx: 0,
  rqTotal: total,
});

test('a node that counts from zero again adds to what was before', () => {
  let sums: Record<string, MappingSums> = {};
  for (const total of [10, 15, 15, 3, 4]) sums = addSample(sums, new Map([['user', sample(total)]]));
  expect(sums.user?.rqTotal).toBe(19);
});

test('a mapping that is gone keeps its sums, without members', () => {
  const sums = addSample(addSample({}, new Map([['user', sample(10)]])), new Map());
  expect(sums.user).toMatchObject({ rqTotal: 10, healthyMembers: 0, totalMembers: 0 });
});

test('a mapping may be called like a member of every object', () => {
  expect(addSample({}, new Map([['constructor', sample(2)]])).constructor).toMatchObject({ rqTotal: 2 });
});

test('sums never go back', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1_000), { minLength: 1 }), (totals) => {
      let sums: Record<string, MappingSums> = {};
      let before = 0;
      for (const total of totals) {
        sums = addSample(sums, new Map([['user', sample(total)]]));
        expect(sums.user?.rqTotal).toBeGreaterThanOrEqual(before);
        before = sums.user?.rqTotal ?? 0;
      }
      expect(before).toBeGreaterThanOrEqual(Math.max(...totals));
    }),
  );
});

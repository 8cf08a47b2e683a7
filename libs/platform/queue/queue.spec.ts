import { expect, test } from '@jest/globals';

import { backoffMs } from './queue.js';

test('back-off doubles up to a minute, with jitter between half and whole', () => {
  expect([1, 2, 3, 4].map((attempt) => backoffMs(attempt, 1_000, 1))).toEqual([1_000, 2_000, 4_000, 8_000]);
  expect([1, 2, 3, 4].map((attempt) => backoffMs(attempt, 1_000, 0))).toEqual([500, 1_000, 2_000, 4_000]);
  expect(backoffMs(500, 1_000, 1)).toBe(60_000);
});

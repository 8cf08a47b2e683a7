import { expect, test } from '@jest/globals';

import { isLongAnswer, writeLongJson } from './long-json.js';

const items = (count: number) =>
  Array.from({ length: count }, (_, i) => (i % 7 === 0 ? undefined : { i, text: `"${i}"\n`, none: undefined }));

test.each([499, 500, 501, 550, 1_234])('a list of %d items is written as JSON.stringify writes it', async (count) => {
  const answer = { version: 3, left: undefined, 'a"b': null, changes: items(count), warnings: [], deep: { list: [1, undefined] } };
  expect((await writeLongJson(answer)).toString()).toBe(JSON.stringify(answer));
});

test('only a list that is a member of the answer makes it long', () => {
  expect(isLongAnswer({ changes: items(500) })).toBe(true);
  expect(isLongAnswer({ changes: items(499), deep: { list: items(5_000) } })).toBe(false);
  expect(isLongAnswer('text')).toBe(false);
  expect(isLongAnswer(null)).toBe(false);
});

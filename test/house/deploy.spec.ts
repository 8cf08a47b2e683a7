import { expect, test } from '@jest/globals';

import { listFiles } from './source-tree.js';

test('every variable that deploy/ and README.md name is read by the configuration', () => {
  const configuration = listFiles(['libs/platform/config'])
    .map(({ text }) => text)
    .join('\n');
  const named = listFiles(['deploy', 'README.md']).flatMap(({ path, text }) =>
    [...text.matchAll(/\b(CHANCERY_[A-Z_]+[A-Z]|DATABASE_URL|REDIS_URL|ENVOY_PATH)\b/g)].map((match) => ({ path, name: match[1] ?? '' })),
  );
  expect(named.length).toBeGreaterThan(10);
  const known = (name: string) => new RegExp(`\\b${name}\\b`).test(configuration);
  expect(named.filter(({ name }) => !known(name))).toEqual([]);
});

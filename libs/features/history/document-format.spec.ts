import { expect, test } from '@jest/globals';

import { acceptedFormat } from './document-format.js';

test.each([
  [undefined, 'json'],
  ['', 'json'],
  ['*/*', 'json'],
  ['application/json', 'json'],
  ['application/yaml', 'yaml'],
  ['Text/YAML', 'yaml'],
  ['application/x-yaml; charset=utf-8', 'yaml'],
  ['application/json, application/yaml', 'json'],
  ['application/yaml, application/json', 'yaml'],
  ['application/json;q=0.5, application/yaml;q=0.9', 'yaml'],
  ['application/yaml;q=0.1, */*', 'yaml'],
  ['application/yaml;q=0', 'json'],
  ['application/yaml;q=much', 'json'],
  ['text/html, constructor', 'json'],
] as const)('Accept: %s means %s', (accept, format) => {
  expect(acceptedFormat(accept)).toBe(format);
});

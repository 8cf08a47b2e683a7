import { expect, test } from '@jest/globals';

import { fieldOfReason } from './refused-field.js';

test.each([
  ['Match.Headers[0].Name: value does not match regex pattern "^[^\\x00\\n\\r]*$"', 'headers'],
  ['Routes[0].Route.PrefixRewrite: value does not match regex pattern "x"', 'rewrite'],
  ['VirtualHosts[0].Domains[0]: value length must be at least 1 characters', 'host'],
  ["Only unique values for domains are permitted. Duplicate entry of domain 'a'", 'host'],
  ['missing ): (a', 'prefix'],
  ["route: unknown cluster 'nowhere'", 'service'],
  ['Routes[0].DirectResponse.Status: value must be inside range [200, 600)', undefined],
])('%s', (reason, field) => {
  expect(fieldOfReason(reason)).toBe(field);
});

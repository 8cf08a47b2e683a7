import fc from 'fast-check';
import type { MappingState } from '#features/mapping/mapping-state.js';
import type { RoutedRequest } from '#features/mapping/route-matcher.js';
import { headerWords, hostWords, methodWords, segmentPaths, valueWords } from '#features/mapping/table.arbitrary.js';

import { ordinarySizing, type ShardSizing } from './shard-plan.js';

/** Small, so that a table of a hundred rows has many shards, middle phases, and more copies than are allowed. */
export const sizings: readonly ShardSizing[] = [
  { fewestRows: 1, mostRows: 4, rowsToAimAt: 2, mostShards: 64, crowd: 2, copies: 20, copiesPerRow: 1 },
  { fewestRows: 2, mostRows: 10, rowsToAimAt: 4, mostShards: 8, crowd: 8, copies: 2, copiesPerRow: 0 },
  { fewestRows: 1, mostRows: 3, rowsToAimAt: 2, mostShards: 256, crowd: 1000, copies: 10_000, copiesPerRow: 100 },
  ordinarySizing,
];

const anyRequest: fc.Arbitrary<RoutedRequest> = fc.record({
  host: fc
    .tuple(fc.constantFrom(...hostWords.map((host) => host.replace('*', 'x'))), fc.constantFrom('', ':80', '.'))
    .chain(([host, end]) => fc.constantFrom(host + end, host.toUpperCase() + end)),
  path: fc.tuple(segmentPaths, fc.constantFrom('', '', 'x', '/b', '?x=/a/b', '/?y')).map(([path, end]) => (path + end).replace('//', '/')),
  method: fc.constantFrom(...methodWords),
  headers: fc.dictionary(fc.constantFrom(...headerWords), fc.constantFrom(...valueWords), { maxKeys: 2, noNullPrototype: true }),
});

/** Half of them made for a mapping of the table, so that most of those find one, though not always that one. */
export function requestsFor(mappings: readonly MappingState[], count: number, seed: number): RoutedRequest[] {
  if (mappings.length === 0) return fc.sample(anyRequest, { numRuns: count, seed });
  const aimed = fc.tuple(fc.constantFrom(...mappings), anyRequest, fc.boolean()).map(([mapping, request, isOwnHost]) => ({
    host: isOwnHost ? mapping.host.replace('*', 'x') : request.host,
    path: mapping.path ?? `${mapping.prefix}${request.path.slice(1)}`,
    method: mapping.methods[0] ?? request.method,
    headers: { ...request.headers, ...mapping.headers },
  }));
  return fc.sample(fc.oneof(anyRequest, aimed), { numRuns: count, seed });
}

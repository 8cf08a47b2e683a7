import type { LiveLane } from './live-lane.js';

/** Above this the sums of every mapping are more than is written every few seconds for each target; the gateway's own figures stay. */
const MOST_COUNTED = 10_000;

/** Which mapping each statistics prefix stands for, and which cluster each mapping forwards to, as a lane serves them. */
export function countedBy(lane: LiveLane): { mappingOfPrefix: ReadonlyMap<string, string>; clusterOf: ReadonlyMap<string, string> } {
  const mappingOfPrefix = new Map<string, string>();
  const clusterOf = new Map<string, string>();
  if (lane.source.mappings.size > MOST_COUNTED) return { mappingOfPrefix, clusterOf };
  for (const name of lane.source.mappings.keys()) {
    const prefix = lane.table.statPrefixOf(name);
    const cluster = lane.table.clusterOf(name);
    if (prefix !== undefined) mappingOfPrefix.set(prefix, name);
    if (cluster !== undefined) clusterOf.set(name, cluster);
  }
  return { mappingOfPrefix, clusterOf };
}

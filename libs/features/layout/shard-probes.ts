import { SHARD_MARKER_PREFIX } from '#platform/envoy/model/reserved.js';
import type { LiveProbe } from '#platform/xds/generated/delivery.js';
import { type ResourceChange, SCOPED_ROUTE_TYPE } from '#platform/xds/xds-resource.js';
import { markerOf } from './shard.js';
import { OWN_SCOPES } from './shard-filter.envoy.js';

/** What the changed shards of a change must answer, to whoever knows the proof secret and asks for the host `_chancery`. */
export function shardProbes(change: Pick<ResourceChange, 'upserts'>): LiveProbe[] {
  return change.upserts
    .filter(({ typeUrl, name }) => typeUrl === SCOPED_ROUTE_TYPE && !OWN_SCOPES.has(name))
    .map((shard) => ({ path: SHARD_MARKER_PREFIX + shard.name, body: markerOf(shard) }));
}

import type { LiveProbe } from '#platform/xds/generated/delivery.js';
import type { ResourceChange } from '#platform/xds/xds-resource.js';

/** What the changed shards of a change must answer, to whoever knows the proof secret and asks for the host `_chancery`. */
export function shardProbes(_change: ResourceChange): LiveProbe[] {
  throw new Error('not yet');
}

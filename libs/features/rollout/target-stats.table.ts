import type { TrafficSample } from '#features/promotion/traffic.js';
import { type Db, sqlQuery } from '#platform/database/database.js';

import type { MappingSums } from './target-stats.js';
import type { StreamOwner } from './target-stream.table.js';

/** The stored sums of one target, and its traffic of the last minutes; empty when there are none. */
export async function readTargetStats(
  db: Db,
  target: string,
): Promise<{ readonly mappings: Record<string, MappingSums>; readonly traffic: readonly TrafficSample[] }> {
  const [row] = await sqlQuery<{ mappings: Record<string, MappingSums>; traffic: TrafficSample[] }>(
    db,
    'select mappings, traffic from chancery.target_stats where target = $1',
    [target],
  );
  return row ?? { mappings: {}, traffic: [] };
}

/** Stores the sums of one target, if its stream is still ours. */
export async function writeTargetStats(
  db: Db,
  owner: StreamOwner,
  stats: {
    readonly atMs: number;
    readonly mappings: Readonly<Record<string, MappingSums>>;
    readonly envoy: Readonly<Record<string, number>>;
    readonly traffic: readonly TrafficSample[];
  },
): Promise<void> {
  await sqlQuery(
    db,
    `insert into chancery.target_stats as s (target, gateway, at, mappings, envoy, traffic)
     select name, gateway, to_timestamp($3::double precision / 1000), $4::jsonb, $5::jsonb, $6::jsonb from chancery.target where name = $1 and term = $2
     on conflict (target) do update set gateway = excluded.gateway, at = excluded.at, mappings = excluded.mappings, envoy = excluded.envoy,
            traffic = excluded.traffic`,
    [owner.target, owner.term, stats.atMs, JSON.stringify(stats.mappings), JSON.stringify(stats.envoy), JSON.stringify(stats.traffic)],
  );
}

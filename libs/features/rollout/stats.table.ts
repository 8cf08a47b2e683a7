import { type Db, sqlQuery } from '#platform/database/database.js';

/** Sums over the gateway's targets since they were enrolled; they never go back. Members are those of the targets that answer now. */
interface MappingStats {
  readonly healthyMembers: number;
  readonly totalMembers: number;
  readonly rq2xx: number;
  readonly rq3xx: number;
  readonly rq4xx: number;
  readonly rq5xx: number;
  readonly rqTotal: number;
}

export interface GatewayStats {
  /** When the newest figures were taken, ISO 8601 in UTC; null when no agent has sent any. */
  readonly at: string | null;
  readonly mappings: Map<string, MappingStats>;
  readonly envoy: Record<string, number>;
  /** Pushes that ended, and how. `superseded` counts in none. */
  readonly updateAttempts: number;
  readonly updateSuccesses: number;
  readonly updateErrors: number;
  readonly lastUpdateAt: string | null;
  readonly lastAttemptAt: string | null;
}

const iso = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

/** The statistics of a gateway, summed over its targets. */
export async function readStats(db: Db, gateway: string): Promise<GatewayStats> {
  const [[newest], mappings, envoy, [updates]] = await Promise.all([
    sqlQuery<{ at: string | null }>(db, `select ${iso('max(at)')} as at from chancery.target_stats where gateway = $1`, [gateway]),
    sqlQuery<{ mapping: string } & Record<keyof MappingStats, string>>(
      db,
      `select m.key as mapping,
              sum((m.value->>'healthyMembers')::bigint) as "healthyMembers", sum((m.value->>'totalMembers')::bigint) as "totalMembers",
              sum((m.value->>'rq2xx')::bigint) as "rq2xx", sum((m.value->>'rq3xx')::bigint) as "rq3xx", sum((m.value->>'rq4xx')::bigint) as "rq4xx",
              sum((m.value->>'rq5xx')::bigint) as "rq5xx", sum((m.value->>'rqTotal')::bigint) as "rqTotal"
         from chancery.target_stats t cross join lateral jsonb_each(t.mappings) m
        where t.gateway = $1 group by m.key order by m.key`,
      [gateway],
    ),
    sqlQuery<{ name: string; value: string }>(
      db,
      `select e.key as name, sum(e.value::text::numeric) as value
         from chancery.target_stats t cross join lateral jsonb_each(t.envoy) e where t.gateway = $1 group by e.key order by e.key`,
      [gateway],
    ),
    sqlQuery<{ attempts: string; successes: string; errors: string; last_update: string | null; last_attempt: string | null }>(
      db,
      `select count(*) filter (where state in ('proven', 'failed', 'refused')) as attempts,
              count(*) filter (where state = 'proven') as successes, count(*) filter (where state in ('failed', 'refused')) as errors,
              ${iso("max(finished_at) filter (where state = 'proven')")} as last_update, ${iso('max(started_at)')} as last_attempt
         from chancery.deployment where gateway = $1`,
      [gateway],
    ),
  ]);
  return {
    at: newest?.at ?? null,
    mappings: new Map(mappings.map((row) => [row.mapping, toMappingStats(row)])),
    envoy: Object.fromEntries(envoy.map((row) => [row.name, Number(row.value)])),
    updateAttempts: Number(updates?.attempts ?? 0),
    updateSuccesses: Number(updates?.successes ?? 0),
    updateErrors: Number(updates?.errors ?? 0),
    lastUpdateAt: updates?.last_update ?? null,
    lastAttemptAt: updates?.last_attempt ?? null,
  };
}

function toMappingStats(row: Record<keyof MappingStats, string>): MappingStats {
  return {
    healthyMembers: Number(row.healthyMembers),
    totalMembers: Number(row.totalMembers),
    rq2xx: Number(row.rq2xx),
    rq3xx: Number(row.rq3xx),
    rq4xx: Number(row.rq4xx),
    rq5xx: Number(row.rq5xx),
    rqTotal: Number(row.rqTotal),
  };
}

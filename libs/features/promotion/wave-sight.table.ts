import { type Db, sqlQuery } from '#platform/database/database.js';
import { contentHash } from '#platform/kernel/digest.js';
import type { JsonObject } from '#platform/kernel/json.js';

import type { AsideSight, TargetSight, WaveSight } from './wave-step.js';

interface TargetRow {
  now_ms: number;
  name: string | null;
  connected: boolean;
  last_seen_ms: number | null;
  present_since_ms: number;
  proven_version: number;
  refused: TargetSight['refused'];
  traffic: TargetSight['traffic'] | null;
}

const ms = (column: string) => `(extract(epoch from ${column}) * 1000)::double precision`;

/**
 * What is seen of a gateway's targets, by the database's clock. Targets that nothing may be pushed to are left out: no wave waits for them. Of an
 * Envoy without an agent nobody has a proof; that it has acknowledged the version is taken for it.
 * @param above set-aside mappings are of interest that were written after this version of the gateway
 */
export async function readWaveSight(db: Db, gateway: string, above: number): Promise<WaveSight> {
  const rows = await sqlQuery<TargetRow>(
    db,
    `select ${ms('clock_timestamp()')} as now_ms, t.name, t.worker is not null as connected, ${ms('t.last_seen_at')} as last_seen_ms,
            ${ms('t.present_since')} as present_since_ms,
            case when t.kind = 'envoy' then t.applied_version else t.proven_version end as proven_version, r.refused, s.traffic
       from (select 1) one
       left join chancery.target t on t.gateway = $1 and t.state <> 'retired' and t.read_only is null
       left join chancery.target_stats s on s.target = t.name
       left join lateral (
         select jsonb_build_object('version', d.version, 'atMs', ${ms('d.finished_at')}, 'message', d.detail) as refused
           from chancery.deployment d where d.target = t.name and d.state = 'refused' and d.code <> 'agent_refused' order by d.id desc limit 1) r on true
      order by t.name`,
    [gateway],
  );
  const aside = await sqlQuery<AsideSight & { digest: string; state: JsonObject }>(
    db,
    `select m.mapping, s.from_version as "fromVersion", m.reason, m.digest, s.state
       from chancery.mapping_status m
       join chancery.subject s on s.stream = 'gateway/' || m.gateway and s.subject = 'mapping/' || m.mapping and s.state is not null
      where m.gateway = $1 and m.state = 'set_aside' and s.from_version > $2
      order by s.from_version, m.mapping limit 1000`,
    [gateway, above],
  );
  return {
    nowMs: rows[0]?.now_ms ?? 0,
    targets: rows.flatMap(toSight),
    aside: aside
      .filter(({ digest, state }) => contentHash(state) === digest)
      .map(({ mapping, fromVersion, reason }) => ({ mapping, fromVersion, reason })),
  };
}

function toSight(row: TargetRow): TargetSight[] {
  if (row.name === null) return []; // the clock, without any target
  return [
    {
      name: row.name,
      connected: row.connected,
      lastSeenMs: row.last_seen_ms ?? 0,
      presentSinceMs: row.present_since_ms,
      provenVersion: row.proven_version,
      refused: row.refused,
      traffic: row.traffic ?? [],
    },
  ];
}

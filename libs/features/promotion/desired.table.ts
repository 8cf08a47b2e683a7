import { type Db, sqlQuery } from '#platform/database/database.js';

import type { DesiredPlan, HoldState, WaveState } from './promotion.js';

/** What the log says is to be run, for whoever reads rows. */
export interface DesiredRow {
  readonly gateway: string;
  readonly plan: DesiredPlan;
  /** The wave that counts. */
  readonly wave: WaveState | null;
  readonly hold: HoldState | null;
  readonly strategy: string;
  /** The versions of the two streams that it follows from. */
  readonly followed: number;
  readonly head: number;
}

/** Writes it, unless somebody was here who has followed one of the streams further. True when it was written. */
export async function writeDesired(db: Db, { gateway, plan, wave, hold, strategy, followed, head }: DesiredRow): Promise<boolean> {
  const overrides = [...plan.overrides].flatMap(([target, { version, because, record }]) =>
    version === 'head' ? [] : [{ target, version, because, record }],
  );
  const { version, because, record } = plan.base;
  const rows = await sqlQuery(
    db,
    `with written as (
       insert into chancery.desired as d (gateway, version, because, wave, hold, policy, record, followed, head)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
       on conflict (gateway) do update
          set version = excluded.version, because = excluded.because, wave = excluded.wave, hold = excluded.hold, policy = excluded.policy,
              record = excluded.record, followed = excluded.followed, head = excluded.head
        where d.followed <= excluded.followed and d.head <= excluded.head
       returning gateway),
     gone as (
       delete from chancery.desired_override o using written
        where o.gateway = written.gateway and o.target <> all (select j->>'target' from jsonb_array_elements($10::jsonb) j)),
     overridden as (
       insert into chancery.desired_override as o (gateway, target, version, because, record)
       select written.gateway, j->>'target', (j->>'version')::bigint, j->>'because', j->>'record'
         from written, jsonb_array_elements($10::jsonb) j
       on conflict (gateway, target) do update set version = excluded.version, because = excluded.because, record = excluded.record)
     select 1 from written`,
    [
      gateway,
      version === 'head' ? null : version,
      because,
      wave === null ? null : JSON.stringify(wave),
      hold === null ? null : JSON.stringify(hold),
      strategy,
      record,
      followed,
      head,
      JSON.stringify(overrides),
    ],
  );
  return rows.length > 0;
}

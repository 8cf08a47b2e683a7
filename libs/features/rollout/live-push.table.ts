import { type Db, sqlQuery } from '#platform/database/database.js';

import type { FinalState, Trigger } from './rollout.js';
import type { StreamOwner } from './target-stream.table.js';

/** Places in the fence that belong to whoever reserved them. */
interface Reserved {
  readonly lineage: number;
  readonly lineageId: string;
  readonly term: number;
  /** The first one and the last one. */
  readonly from: number;
  readonly to: number;
}

/**
 * Reserves the next places in the fence, so that giving one to a release needs no database: what is live may wait for nothing. The row says what may have
 * been used, which is what an agent's last release is compared with when it connects.
 * Undefined: another stream was opened since, or the target must not be written to.
 */
export async function reserveSequences(db: Db, owner: StreamOwner, count: number): Promise<Reserved | undefined> {
  const [row] = await sqlQuery<{ lineage: number; lineage_id: string; term: number; sequence: number }>(
    db,
    `with current as (select lineage, lineage_id from chancery.lineage order by lineage desc limit 1)
     update chancery.target t set sequence = t.sequence + $3, lineage = current.lineage
       from current where t.name = $1 and t.term = $2 and t.read_only is null
     returning current.lineage, current.lineage_id, t.term, t.sequence`,
    [owner.target, owner.term, count],
  );
  if (row === undefined) return undefined;
  return { lineage: row.lineage, lineageId: row.lineage_id, term: row.term, from: row.sequence - count + 1, to: row.sequence };
}

/** What became of a push that was delivered live: written when it is known, in one statement, with everything that follows from it. */
export interface LiveOutcome {
  readonly id: string;
  readonly release: string;
  /** The versions that it brought, both of them included; `coversFrom` 0 where the first is not known. */
  readonly version: number;
  readonly coversFrom: number;
  readonly renderSha256: string;
  readonly trigger: Trigger;
  readonly startedAtMs: number;
  readonly state: FinalState;
  readonly code: string;
  readonly detail: string;
  /** The agent's number of the report; 0 for an outcome that the worker itself found. */
  readonly report: number;
  readonly reportedAtMs: number;
  readonly durationMs: number;
  readonly epochFrom: number;
  readonly epochTo: number;
  /** Does it count as the proof of its version? Not while something of it waits or was refused. */
  readonly proves: boolean;
  /** It answers the redeployments that waited when it was sent. */
  readonly answers: boolean;
}

/**
 * Writes the outcome of a live push. The same outcome again, or another one of a push whose outcome is written, adds a step and changes nothing else, but
 * that the newest push may prove its version the second time, when what was held back of it has come.
 * `ended` when it was written just now. Undefined: the stream is not ours any more.
 */
export async function recordLivePush(db: Db, owner: StreamOwner, outcome: LiveOutcome): Promise<{ readonly ended: boolean } | undefined> {
  const [row] = await sqlQuery<{ ended: boolean }>(db, RECORD, [
    owner.target,
    owner.term,
    outcome.id,
    outcome.release,
    outcome.version,
    outcome.coversFrom,
    outcome.renderSha256,
    outcome.trigger,
    outcome.startedAtMs,
    outcome.state,
    outcome.code,
    outcome.detail.slice(0, 2_000),
    outcome.report,
    outcome.reportedAtMs,
    Math.round(outcome.durationMs),
    outcome.epochFrom,
    outcome.epochTo,
    outcome.proves,
    outcome.answers,
  ]);
  return row;
}

const RECORD = `
  with owner as (select name, gateway from chancery.target where name = $1 and term = $2),
  known as (select d.id from chancery.deployment d join owner on owner.name = d.target where d.release = $4),
  again as (
    select k.id from known k join chancery.deployment d on d.id = k.id
     where d.state = 'proven' and not exists (select 1 from chancery.deployment n where n.target = $1 and n.id > k.id and n.state = 'proven')),
  made as (
    insert into chancery.deployment (id, gateway, target, release, version, covers_from, delivery, render_sha256, trigger, state, code, detail,
                                     started_at, finished_at, epoch_from, epoch_to)
    select $3::uuid, gateway, name, $4, $5::bigint, $6::bigint, 'live', $7, $8, $10::text, $11, $12, to_timestamp($9::double precision / 1000), clock_timestamp(), $16::int, $17::int
      from owner where not exists (select 1 from known)
    on conflict do nothing returning id),
  steps as (
    insert into chancery.deployment_step (deployment, step, report, at, duration_ms, detail, code)
    select made.id, 'pushed', -1::bigint, to_timestamp($9::double precision / 1000), 0, '', '' from made
    union all
    select id, $10::text, $13::bigint, to_timestamp($14::double precision / 1000), $15::int, $12, $11 from (select id from made union all select id from known) as pushes
    on conflict (deployment, report) do nothing),
  proven as (
    update chancery.target t
       set proven_release = $4, proven_version = $5::bigint, proven_render = $7, proven_endpoints = '',
           applied_release = $4, applied_version = $5::bigint, applied_render = $7, failures = 0, failed_render = '', failed_at = null
      from (select id from made union all select id from again) as pushes where t.name = $1 and $10::text = 'proven' and $18::boolean),
  failed as (
    update chancery.target t
       set failures = case when t.failed_render = $7 then t.failures + 1 else 1 end, failed_render = $7, failed_at = clock_timestamp()
      from made where t.name = $1 and $10::text in ('failed', 'refused')),
  answered as (
    update chancery.redeployment_target r set state = $10::text, deployment = made.id
      from made, chancery.redeployment q
     where $19::boolean and r.target = $1 and r.state = 'waiting' and q.id = r.redeployment and q.requested_at <= to_timestamp($9::double precision / 1000))
  select exists (select 1 from made) as ended from owner`;

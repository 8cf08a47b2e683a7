import { type Db, sqlQuery } from '#platform/database/database.js';

import type { DeploymentState } from './deployment.table.js';
import type { FencePosition, Trigger } from './rollout.js';
import type { StreamOwner } from './target-stream.table.js';

export interface PushStart {
  readonly id: string;
  readonly version: number;
  readonly renderSha256: string;
  readonly endpointsSha256: string;
  readonly trigger: Trigger;
  /** How long the render took, for its step. */
  readonly renderMs: number;
}

/**
 * Begins a push: takes the next place in the fence and writes the deployment with its first steps, in one statement.
 * Redeployments that wait for this target are answered by it.
 * Undefined: another stream was opened since, or the target must not be written to; nothing was written.
 */
export async function startPush(db: Db, owner: StreamOwner, push: PushStart): Promise<FencePosition | undefined> {
  const [row] = await sqlQuery<{ lineage: number; lineage_id: string; term: number; sequence: number }>(
    db,
    `with current as (select lineage, lineage_id from chancery.lineage order by lineage desc limit 1),
     fence as (
       update chancery.target t set sequence = sequence + 1, lineage = current.lineage
         from current where t.name = $1 and t.term = $2 and t.read_only is null
       returning t.gateway, current.lineage, current.lineage_id, t.term, t.sequence),
     deployment as (
       insert into chancery.deployment (id, gateway, target, release, version, render_sha256, endpoints_sha256, trigger)
       select $3, gateway, $1, lineage || '.' || term || '.' || sequence, $4, $5, $6, $7 from fence),
     steps as (
       insert into chancery.deployment_step (deployment, step, report, at, duration_ms, detail)
       select $3::uuid, s.step, s.report, clock_timestamp(), s.ms, s.detail
         from fence, (values ('started', -2, 0, ''), ('rendered', -1, $8::int, $5::text)) as s (step, report, ms, detail)),
     answered as (
       update chancery.redeployment_target set deployment = $3, state = 'running' from fence where target = $1 and state = 'waiting')
     select lineage, lineage_id, term, sequence from fence`,
    [owner.target, owner.term, push.id, push.version, push.renderSha256, push.endpointsSha256, push.trigger, Math.round(push.renderMs)],
  );
  return row === undefined ? undefined : { lineage: row.lineage, lineageId: row.lineage_id, term: row.term, sequence: row.sequence };
}

export interface ReportedStep {
  readonly release: string;
  /** The agent's number of the report. */
  readonly report: number;
  readonly step: string;
  readonly atMs: number;
  readonly durationMs: number;
  readonly code: string;
  readonly detail: string;
  readonly epochFrom: number;
  readonly epochTo: number;
  /** What it makes of the deployment; null while that is under way. */
  readonly final: Exclude<DeploymentState, 'running'> | null;
}

/** What became of a step: `ended` when it finished its deployment just now. */
export interface TakenStep {
  readonly deployment: string;
  readonly ended: boolean;
}

/**
 * Writes one reported step and what follows from it: the end of the deployment, what the target has proven, its failures in
 * a row, the redeployments that waited. Taking the same report again changes nothing. Undefined: no such release, or the stream is not ours any more.
 */
export async function takeStep(db: Db, owner: StreamOwner, step: ReportedStep): Promise<TakenStep | undefined> {
  const [row] = await sqlQuery<{ id: string; ended: boolean }>(
    db,
    `with owner as (select name from chancery.target where name = $1 and term = $2),
     found as (select d.id from chancery.deployment d join owner on owner.name = d.target where d.release = $3),
     step as (
       insert into chancery.deployment_step (deployment, step, report, at, duration_ms, detail, code)
       select id, $5, $4, to_timestamp($6::double precision / 1000), $7, $8, $9 from found
       on conflict (deployment, report) do nothing),
     ended as (
       update chancery.deployment d
          set state = $10::text, code = $9, detail = $8, finished_at = clock_timestamp(),
              epoch_from = case when $11::int >= 0 then $11 else d.epoch_from end, epoch_to = case when $12::int >= 0 then $12 else d.epoch_to end
         from found where d.id = found.id and d.state = 'running' and $10::text is not null
       returning d.id, d.release, d.version, d.render_sha256, d.endpoints_sha256),
     epochs as (
       update chancery.deployment d set epoch_from = $11, epoch_to = $12
         from found where d.id = found.id and d.state = 'running' and $10::text is null and $12::int >= 0),
     proven as (
       update chancery.target t
          set proven_release = e.release, proven_version = e.version, proven_render = e.render_sha256, proven_endpoints = e.endpoints_sha256,
              applied_release = e.release, applied_version = e.version, applied_render = e.render_sha256, failures = 0, failed_render = '', failed_at = null
         from ended e where t.name = $1 and $10 = 'proven'),
     failed as (
       update chancery.target t
          set failures = case when t.failed_render = e.render_sha256 then t.failures + 1 else 1 end, failed_render = e.render_sha256, failed_at = clock_timestamp()
         from ended e where t.name = $1 and $10 in ('failed', 'refused')),
     answered as (update chancery.redeployment_target r set state = $10 from ended e where r.deployment = e.id)
     select found.id, exists (select 1 from ended) as ended from found`,
    [
      owner.target,
      owner.term,
      step.release,
      step.report,
      step.step,
      step.atMs,
      Math.round(step.durationMs),
      step.detail.slice(0, 2_000),
      step.code,
      step.final,
      step.epochFrom,
      step.epochTo,
    ],
  );
  return row === undefined ? undefined : { deployment: row.id, ended: row.ended };
}

/** Ends a deployment that the worker itself gives up, for instance because its deadline passed. False when it had ended already. */
export async function endPush(
  db: Db,
  deployment: string,
  end: { readonly state: Exclude<DeploymentState, 'running' | 'proven'>; readonly code: string; readonly detail: string },
): Promise<boolean> {
  const rows = await sqlQuery(
    db,
    `with ended as (
       update chancery.deployment set state = $2::text, code = $3, detail = $4, finished_at = clock_timestamp()
        where id = $1 and state = 'running' returning id, target, render_sha256),
     step as (
       insert into chancery.deployment_step (deployment, step, report, at, detail, code)
       select id, $2, 0, clock_timestamp(), $4, $3 from ended on conflict (deployment, report) do nothing),
     failed as (
       update chancery.target t
          set failures = case when t.failed_render = e.render_sha256 then t.failures + 1 else 1 end, failed_render = e.render_sha256, failed_at = clock_timestamp()
         from ended e where t.name = e.target and $2 in ('failed', 'refused')),
     answered as (update chancery.redeployment_target r set state = $2 from ended e where r.deployment = e.id)
     select 1 from ended`,
    [deployment, end.state, end.code, end.detail.slice(0, 2_000)],
  );
  return rows.length > 0;
}

/** The pushes to a target that have not ended, oldest first. */
export async function listRunningPushes(db: Db, target: string): Promise<{ id: string; release: string; ageMs: number }[]> {
  return sqlQuery(
    db,
    `select id, release, (extract(epoch from clock_timestamp() - started_at) * 1000)::double precision as "ageMs"
       from chancery.deployment where target = $1 and state = 'running' order by id`,
    [target],
  );
}

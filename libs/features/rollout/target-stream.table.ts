import { type Db, sqlQuery } from '#platform/database/database.js';
import { DomainError } from '#platform/kernel/errors.js';

import type { FencePosition, TargetFacts } from './rollout.js';

/**
 * What the worker that holds an agent's stream writes about its target. Each statement names the term that it got when the
 * stream opened; it changes nothing when another stream was opened since, and says so by answering false or undefined.
 */
export interface StreamOwner {
  readonly target: string;
  readonly term: number;
}

export interface OpenedStream {
  readonly term: number;
  /** The newest release that was sent before this stream, in the terms of this database. */
  readonly sent: FencePosition;
  /** Version of the gateway's head; 0 for a gateway that does not exist (yet). */
  readonly head: number;
}

/**
 * Enrols the target, or takes it over from whoever held it, with one UPDATE that raises its term.
 * @throws DomainError conflict `target_elsewhere` for a name that belongs to another gateway, forbidden `target_retired`.
 */
export async function openStream(
  db: Db,
  target: { readonly name: string; readonly gateway: string; readonly worker: string; readonly facts: object },
): Promise<OpenedStream> {
  const [row] = await sqlQuery<{ term: number; sequence: number; lineage: number; lineage_id: string; head: number }>(
    db,
    `with current as (select lineage, lineage_id from chancery.lineage order by lineage desc limit 1),
     before as (select term, sequence from chancery.target where name = $1),
     opened as (
       insert into chancery.target as t (name, gateway, worker, term, facts, last_seen_at)
       values ($1, $2, $3, 1, $4, clock_timestamp())
       on conflict (name) do update
          set worker = $3, term = t.term + 1, sequence = 0, facts = $4, kind = 'agent', state = 'enrolled', last_seen_at = clock_timestamp(), read_only = null,
              present_since = case when t.state = 'away' then clock_timestamp() else t.present_since end
        where t.gateway = $2 and t.state <> 'retired'
       returning t.term)
     select o.term, coalesce(b.sequence, 0) as sequence, c.lineage, c.lineage_id,
            coalesce((select version from chancery.stream where stream = 'gateway/' || $2), 0) as head
       from opened o cross join current c left join before b on true`,
    [target.name, target.gateway, target.worker, JSON.stringify(target.facts)],
  );
  if (row === undefined) throw await whyNot(db, target.name);
  return {
    term: row.term,
    sent: { lineage: row.lineage, lineageId: row.lineage_id, term: row.term - 1, sequence: row.sequence },
    head: row.head,
  };
}

async function whyNot(db: Db, name: string): Promise<DomainError> {
  const [row] = await sqlQuery<{ gateway: string; state: string }>(db, 'select gateway, state from chancery.target where name = $1', [
    name,
  ]);
  if (row?.state === 'retired') return new DomainError('forbidden', 'target_retired', `The target ${name} is retired.`);
  return new DomainError('conflict', 'target_elsewhere', `The target ${name} belongs to the gateway ${row?.gateway ?? '?'}.`);
}

/** The stream ended: nobody holds the target until another opens. */
export async function closeStream(db: Db, { target, term }: StreamOwner): Promise<void> {
  await sqlQuery(
    db,
    `update chancery.target set worker = null, agent_state = 'unknown', last_seen_at = clock_timestamp() where name = $1 and term = $2`,
    [target, term],
  );
}

/** Marks the targets as seen; answers those that this worker no longer holds. Rows are locked by name, so that no two statements wait for each other. */
export async function heartbeat(db: Db, held: readonly StreamOwner[]): Promise<StreamOwner[]> {
  const rows = await sqlQuery<{ name: string }>(
    db,
    `with held as (
       select t.name from chancery.target t join unnest($1::text[], $2::bigint[]) as h (name, term) using (name, term)
        where t.worker is not null order by t.name for no key update of t)
     update chancery.target t set last_seen_at = clock_timestamp(), state = 'enrolled' from held where t.name = held.name
     returning t.name`,
    [held.map(({ target }) => target), held.map(({ term }) => term)],
  );
  const seen = new Set(rows.map(({ name }) => name));
  return held.filter(({ target }) => !seen.has(target));
}

/** Gives up targets whose worker fell silent, and counts those as away that nobody has seen for longer. Any worker may. */
export async function forgetSilentTargets(db: Db, options: { readonly silentMs: number; readonly awayMs: number }): Promise<void> {
  await sqlQuery(
    db,
    `update chancery.target
        set worker = null, agent_state = 'unknown',
            state = case when last_seen_at < clock_timestamp() - $2 * interval '1 ms' then 'away' else state end
      where state = 'enrolled'
        and ((worker is not null and last_seen_at < clock_timestamp() - $1 * interval '1 ms')
          or (worker is null and last_seen_at < clock_timestamp() - $2 * interval '1 ms'))`,
    [options.silentMs, options.awayMs],
  );
}

/** What the agent says of itself, as its row shows it. */
export interface AgentStatus {
  readonly state: string;
  readonly epoch: number;
  readonly envoyPid: number;
  readonly windowEndsMs: number;
  readonly appliedRelease: string;
  readonly appliedVersion: number;
  readonly appliedRender: string;
  readonly error: string;
  /** How the live Envoy gets its configuration; '' when none runs. */
  readonly delivery: string;
}

export async function writeStatus(db: Db, owner: StreamOwner, status: AgentStatus): Promise<boolean> {
  const rows = await sqlQuery(
    db,
    `update chancery.target
        set agent_state = $3, epoch = $4, envoy_pid = $5, window_ends_at = case when $6::double precision > 0 then to_timestamp($6::double precision / 1000) end,
            applied_release = $7, applied_version = $8, applied_render = $9, error = $10, delivery = $11, last_seen_at = clock_timestamp()
      where name = $1 and term = $2 returning 1`,
    [
      owner.target,
      owner.term,
      status.state,
      status.epoch,
      status.envoyPid,
      status.windowEndsMs,
      status.appliedRelease,
      status.appliedVersion,
      status.appliedRender,
      status.error.slice(0, 2_000),
      status.delivery,
    ],
  );
  return rows.length > 0;
}

export async function writeReadOnly(db: Db, owner: StreamOwner, reason: string | null): Promise<boolean> {
  const rows = await sqlQuery(db, 'update chancery.target set read_only = $3 where name = $1 and term = $2 returning 1', [
    owner.target,
    owner.term,
    reason,
  ]);
  return rows.length > 0;
}

/** What `nextStep` needs of the row; undefined when another stream was opened since. */
export async function readFacts(
  db: Db,
  owner: StreamOwner,
): Promise<(TargetFacts & { readonly redeployment: boolean; readonly force: boolean }) | undefined> {
  const [row] = await sqlQuery<{
    read_only: string | null;
    proven_version: number;
    proven_render: string;
    proven_endpoints: string;
    failures: number;
    failed_render: string;
    failed_at: Date | null;
    redeployment: boolean;
    force: boolean;
  }>(
    db,
    `select t.read_only, t.proven_version, t.proven_render, t.proven_endpoints, t.failures, t.failed_render, t.failed_at,
            r.waiting as redeployment, r.force
       from chancery.target t
       left join lateral (
         select count(*) > 0 as waiting, coalesce(bool_or(q.force), false) as force
           from chancery.redeployment_target rt join chancery.redeployment q on q.id = rt.redeployment
          where rt.target = t.name and rt.state = 'waiting') r on true
      where t.name = $1 and t.term = $2`,
    [owner.target, owner.term],
  );
  if (row === undefined) return undefined;
  return {
    readOnly: row.read_only,
    provenVersion: row.proven_version,
    provenRender: row.proven_render,
    provenEndpoints: row.proven_endpoints,
    failures: row.failures,
    failedRender: row.failed_render,
    failedAtMs: row.failed_at?.getTime() ?? 0,
    redeployment: row.redeployment,
    force: row.force,
  };
}

/** A newer version of the gateway renders to what this target has proven already: it is live there without a push. */
export async function writeProvenVersion(db: Db, owner: StreamOwner, version: number, renderSha256: string): Promise<boolean> {
  const rows = await sqlQuery(
    db,
    `update chancery.target set proven_version = $3, applied_version = greatest(applied_version, $3)
      where name = $1 and term = $2 and proven_render = $4 and proven_version <> $3 returning 1`,
    [owner.target, owner.term, version, renderSha256],
  );
  return rows.length > 0;
}

/** Who holds the stream of a target; undefined for an unknown target, null when nobody does. */
export async function readHolder(db: Db, target: string): Promise<string | null | undefined> {
  const [row] = await sqlQuery<{ worker: string | null }>(db, `select worker from chancery.target where name = $1 and state <> 'retired'`, [
    target,
  ]);
  return row?.worker;
}

/** Tells whoever holds the target's stream to look at it. */
export async function notifyLook(db: Db, target: string): Promise<void> {
  await sqlQuery(db, `select pg_notify('chancery_look', $1)`, [target]);
}

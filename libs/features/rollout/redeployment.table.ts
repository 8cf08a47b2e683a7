import { type Db, sqlQuery } from '#platform/database/database.js';

export interface Redeployment {
  readonly id: string;
  readonly gateway: string;
  readonly targets: readonly string[] | null;
  readonly reason: string;
  readonly force: boolean;
  readonly actor: string;
  readonly requestedAt: string;
}

/**
 * Turns recorded requests into work, and remembers how far the stream was followed. Any worker may, any number of times.
 * A target that does not exist is answered `refused` at once, so that nobody waits for it.
 */
export async function takeRedeployments(db: Db, stream: string, version: number, requests: readonly Redeployment[]): Promise<void> {
  for (const request of requests) {
    await sqlQuery(
      db,
      `with request as (
         insert into chancery.redeployment (id, gateway, reason, force, actor, requested_at)
         values ($1, $2, $3, $4, $5, $6) on conflict (id) do nothing returning id),
       wanted as (
         select t.name, true as known from chancery.target t where t.gateway = $2 and t.state <> 'retired' and ($7::text[] is null or t.name = any($7))
         union all
         select n, false from unnest(coalesce($7::text[], '{}')) n
          where not exists (select 1 from chancery.target t where t.gateway = $2 and t.name = n and t.state <> 'retired'))
       insert into chancery.redeployment_target (redeployment, target, state)
       select request.id, wanted.name, case when wanted.known then 'waiting' else 'refused' end from request, wanted
       on conflict do nothing`,
      [request.id, request.gateway, request.reason, request.force, request.actor, request.requestedAt, request.targets],
    );
  }
  await sqlQuery(
    db,
    `insert into chancery.rollout_cursor as c (stream, version) values ($1, $2) on conflict (stream) do update set version = greatest(c.version, $2)`,
    [stream, version],
  );
}

export async function readRolloutCursor(db: Db, stream: string): Promise<number> {
  const [row] = await sqlQuery<{ version: number }>(db, 'select version from chancery.rollout_cursor where stream = $1', [stream]);
  return row?.version ?? 0;
}

/** How a redeployment stands at each target; undefined when no worker has taken it up yet. */
export async function readRedeployment(
  db: Db,
  id: string,
): Promise<{ id: string; gateway: string; targets: { target: string; state: string; deployment: string | null }[] } | undefined> {
  const [row] = await sqlQuery<{ id: string; gateway: string; targets: { target: string; state: string; deployment: string | null }[] }>(
    db,
    `select r.id, r.gateway,
            coalesce((select jsonb_agg(jsonb_build_object('target', t.target, 'state', t.state, 'deployment', t.deployment) order by t.target)
                        from chancery.redeployment_target t where t.redeployment = r.id), '[]') as targets
       from chancery.redeployment r where r.id = $1`,
    [id],
  );
  return row;
}

import { type Db, sqlQuery } from '#platform/database/database.js';

/**
 * Targets of this worker that their rows show not to be where they should be, or with a push of a former stream that nobody has ended:
 * from here work is made again when the queue lost it.
 */
export async function listDueTargets(db: Db, worker: string): Promise<string[]> {
  const rows = await sqlQuery<{ name: string }>(
    db,
    `select t.name
       from chancery.target t join chancery.stream s on s.stream = 'gateway/' || t.gateway
       left join chancery.desired w on w.gateway = t.gateway
       left join chancery.desired_override o on o.gateway = t.gateway and o.target = t.name
      where t.worker = $1 and t.state <> 'retired' and t.read_only is null
        and (t.proven_version <> coalesce(o.version, w.version, s.version) or t.applied_render <> t.proven_render
          or exists (select 1 from chancery.deployment d
                      where d.target = t.name and d.state = 'running' and split_part(d.release, '.', 2)::bigint < t.term)
          or exists (select 1 from chancery.redeployment_target r where r.target = t.name and r.state = 'waiting'))`,
    [worker],
  );
  return rows.map(({ name }) => name);
}

/** Ends pushes that nobody follows any more: their target has no stream, and was not seen for so long. */
export async function endAbandonedPushes(db: Db, awayMs: number): Promise<number> {
  const rows = await sqlQuery(
    db,
    `with ended as (
       update chancery.deployment d
          set state = 'failed', code = 'outcome_unknown', detail = 'The target went away before it said what became of the release.', finished_at = clock_timestamp()
         from chancery.target t
        where d.state = 'running' and t.name = d.target and t.worker is null and t.last_seen_at < clock_timestamp() - $1 * interval '1 ms'
       returning d.id),
     answered as (update chancery.redeployment_target r set state = 'failed' from ended e where r.deployment = e.id)
     select 1 from ended`,
    [awayMs],
  );
  return rows.length;
}

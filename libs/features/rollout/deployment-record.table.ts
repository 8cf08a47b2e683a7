import { type Db, sqlQuery } from '#platform/database/database.js';

/** Says of pushes in which version of `deployments/<gateway>` their records are. */
export async function markRecorded(db: Db, recorded: readonly { readonly id: string; readonly version: number }[]): Promise<void> {
  if (recorded.length === 0) return;
  await sqlQuery(
    db,
    `update chancery.deployment d set recorded_version = r.version
       from unnest($1::uuid[], $2::bigint[]) as r (id, version) where d.id = r.id and d.recorded_version is null`,
    [recorded.map(({ id }) => id), recorded.map(({ version }) => version)],
  );
}

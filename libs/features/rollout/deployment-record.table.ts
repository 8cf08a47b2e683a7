import { type Db, sqlQuery } from '#platform/database/database.js';

import { type DeploymentView, readDeployment } from './deployment.table.js';

/** Pushes that have ended and are not in the log yet, oldest first. */
export async function listUnrecorded(db: Db, limit: number): Promise<DeploymentView[]> {
  const rows = await sqlQuery<{ id: string }>(
    db,
    `select id from chancery.deployment where state <> 'running' and recorded_version is null order by id limit $1`,
    [limit],
  );
  const deployments = await Promise.all(rows.map(({ id }) => readDeployment(db, id)));
  return deployments.filter((deployment) => deployment !== undefined);
}

export async function markRecorded(db: Db, id: string, version: number): Promise<void> {
  await sqlQuery(db, 'update chancery.deployment set recorded_version = $2 where id = $1 and recorded_version is null', [id, version]);
}

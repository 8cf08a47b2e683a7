import { randomUUID } from 'node:crypto';

import { type Db, sqlQuery } from '#platform/database/database.js';

/** The history that this database continues. Raised when it was restored to a moment that targets have moved beyond. */
export interface Lineage {
  readonly lineage: number;
  readonly lineageId: string;
}

export async function readLineage(db: Db): Promise<Lineage> {
  const [row] = await sqlQuery<{ lineage: number; lineage_id: string }>(
    db,
    'select lineage, lineage_id from chancery.lineage order by lineage desc limit 1',
    [],
  );
  if (row === undefined) throw new Error('the database has no lineage: its migrations are incomplete');
  return { lineage: row.lineage, lineageId: row.lineage_id };
}

/**
 * `chancery recover`: declares this database right and what the targets know beyond it void. Every release from now on is
 * newer, for every agent, than anything sent before; targets that stood still are written to again.
 * @param atLeast a lineage that a target was seen in, when it is ahead of this database's own
 */
export async function recoverLineage(
  db: Db,
  options: { readonly reason: string; readonly actor: string; readonly atLeast?: number },
): Promise<Lineage> {
  const [row] = await sqlQuery<{ lineage: number; lineage_id: string }>(
    db,
    `with raised as (
       insert into chancery.lineage (lineage, lineage_id, reason, actor)
       select greatest(max(lineage), $4::bigint) + 1, $1, $2, $3 from chancery.lineage returning lineage, lineage_id),
     freed as (update chancery.target set read_only = null where read_only is not null returning name),
     told as (select count(pg_notify('chancery_look', name)) from freed)
     select raised.lineage, raised.lineage_id from raised, told`,
    [randomUUID(), options.reason, options.actor, options.atLeast ?? 0],
  );
  if (row === undefined) throw new Error('the lineage was not raised');
  return { lineage: row.lineage, lineageId: row.lineage_id };
}

/** The targets that nothing may be pushed to, with the reason. */
export async function listReadOnlyTargets(db: Db): Promise<{ name: string; gateway: string; reason: string }[]> {
  return sqlQuery(
    db,
    `select name, gateway, read_only as reason from chancery.target where read_only is not null and state <> 'retired' order by name`,
    [],
  );
}

import { type Db, sqlQuery } from '#platform/database/database.js';

import type { Standing } from './promotion.js';

/**
 * How a gateway stands by its own stream; undefined when it does not exist.
 * @param version as of this version, for a reader that follows the stream; undefined: as of its head
 */
export async function readStanding(db: Db, gateway: string, version?: number): Promise<Standing | undefined> {
  const [row] = await sqlQuery<{ head: number; immediate: number }>(
    db,
    // Settings from before there were strategies deploy at once. Before version 1 there is nothing that a target could stay at.
    `with head as (select coalesce($2::bigint, version) as version from chancery.stream where stream = 'gateway/' || $1::text and version > 0),
     settings as (
       select from_version as since, null::bigint as until, state from chancery.subject where stream = 'gateway/' || $1 and subject = 'gateway'
       union all
       select lower(valid), upper(valid), state from chancery.subject_history where stream = 'gateway/' || $1 and subject = 'gateway')
     select h.version as head,
            greatest(1, (select max(least(coalesce(s.until - 1, h.version), h.version)) from settings s
                          where s.since <= h.version and coalesce(s.state->'rollout'->>'strategy', 'immediate') = 'immediate')) as immediate
       from head h`,
    [gateway, version ?? null],
  );
  return row === undefined ? undefined : { gateway, head: row.head, immediateVersion: row.immediate };
}

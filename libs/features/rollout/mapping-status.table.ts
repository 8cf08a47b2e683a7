import { type Db, sqlQuery } from '#platform/database/database.js';

/** What is to be said of a mapping beyond its configuration. */
export interface MappingStatus {
  /** unresolved: no endpoint of its service is known yet. set_aside: Envoy refuses it, it answers 503 and the rest goes live. */
  readonly state: 'unresolved' | 'set_aside';
  readonly code: string;
  readonly reason: string;
  readonly since: string;
}

/** The statuses of a gateway's mappings, of all or of the named ones. No entry: nothing to say. */
export async function listMappingStatus(db: Db, gateway: string, names?: readonly string[]): Promise<Map<string, MappingStatus>> {
  const rows = await sqlQuery<{ mapping: string } & MappingStatus>(
    db,
    `select distinct on (mapping) mapping, state, code, reason, to_char(since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as since
       from chancery.mapping_status
      where gateway = $1 and ($2::text[] is null or mapping = any($2))
      order by mapping, state`, // set_aside sorts before unresolved: it is the graver one
    [gateway, names ?? null],
  );
  return new Map(rows.map(({ mapping, state, code, reason, since }) => [mapping, { state, code, reason, since }]));
}

import { type Db, sqlQuery } from '#platform/database/database.js';

/** A host of mappings. */
export interface ServedHost {
  readonly host: string;
  /** The first 100 by name. */
  readonly mappings: readonly string[];
  readonly mappingCount: number;
}

/** The hosts under these names, by name: those that are named, and exact ones that lack one label of a name with a star. */
export async function listHostsUnder(db: Db, gateway: string, names: readonly string[]): Promise<ServedHost[]> {
  return sqlQuery(
    db,
    `SELECT host, (array_agg(mapping ORDER BY mapping))[:100] AS mappings, count(*) AS "mappingCount" FROM chancery.route
     WHERE gateway = $1 AND host_kind <> 'any'
       AND (host = ANY ($2::text[]) OR (host_kind = 'exact' AND '*' || substr(host, strpos(host, '.')) = ANY ($2::text[])))
     GROUP BY host ORDER BY host`,
    [gateway, names],
  );
}

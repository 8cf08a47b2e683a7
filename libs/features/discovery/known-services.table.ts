import { type Db, sqlQuery } from '#platform/database/database.js';

/** What the discovery says of a name that it has not asked for yet; see `resolve`. */
export const NOT_LOOKED_UP = 'not looked up yet';

/**
 * Whether discovery has endpoints for a service of this gateway: for the warning of a mapping whose service is not there (yet).
 * true: a static list names it, whatever the port, or some mapping named it and a worker found it. false: a worker has looked, and found none.
 * undefined: nobody has looked yet, so it cannot be said; a name that only DNS knows is looked up when a mapping asks for it.
 */
export async function isServiceKnown(
  db: Db,
  gateway: string,
  service: { readonly host: string; readonly port: number },
): Promise<boolean | undefined> {
  const rows = await sqlQuery<{ found: boolean; looked: boolean }>(db, SERVICE_KNOWN, [
    gateway,
    [service.host, `${service.host}:${service.port}`],
    NOT_LOOKED_UP,
  ]);
  if (rows.some(({ found }) => found)) return true;
  return rows.some(({ looked }) => looked) ? false : undefined;
}

const SERVICE_KNOWN = `
  SELECT jsonb_array_length(endpoints) > 0 AS found, strpos(error, $3) = 0 AS looked
    FROM chancery.discovered_service WHERE gateway = $1 AND service = ANY ($2)`;

import { type Db, sqlQuery } from '#platform/database/database.js';

import type { Found } from './discovery.js';

/** Writes what a worker found for a gateway's services, by `host:port`, and removes the rows of services that nobody names any more. */
export async function writeDiscoveredServices(db: Db, gateway: string, services: ReadonlyMap<string, Found>): Promise<void> {
  const names = [...services.keys()];
  const found = [...services.values()];
  await sqlQuery(
    db,
    `with gone as (delete from chancery.discovered_service where gateway = $1 and service <> all($2::text[]))
     insert into chancery.discovered_service as d (gateway, service, source, endpoints, error)
     select $1, s.* from unnest($2::text[], $3::text[], $4::jsonb[], $5::text[]) as s (service, source, endpoints, error)
     on conflict (gateway, service) do update
        set source = excluded.source, endpoints = excluded.endpoints, error = excluded.error, at = clock_timestamp()
      where (d.source, d.endpoints, d.error) is distinct from (excluded.source, excluded.endpoints, excluded.error)`,
    [
      gateway,
      names,
      found.map(({ source }) => source),
      found.map(({ endpoints }) => JSON.stringify(endpoints)),
      found.map(({ error }) => error),
    ],
  );
}

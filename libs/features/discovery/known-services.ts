import type { Db } from '#platform/database/database.js';

type DiscoveredServices = {
  discovered_service: { gateway: string; service: string; endpoints: unknown[] };
};

/**
 * Whether discovery has found endpoints for a service of this gateway: for the warning of a mapping whose service is not there (yet).
 * `service` is the reference's `name:port` form. False also when the workers have not looked for it so far.
 */
export async function isServiceKnown(db: Db, gateway: string, service: { readonly host: string; readonly port: number }): Promise<boolean> {
  const row = await db
    .withTables<DiscoveredServices>()
    .selectFrom('discovered_service')
    .select('endpoints')
    .where('gateway', '=', gateway)
    .where('service', '=', `${service.host}:${service.port}`)
    .executeTakeFirst();
  return row !== undefined && row.endpoints.length > 0;
}

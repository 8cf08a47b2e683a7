import type { Db } from '#platform/database/database.js';

type DiscoveredServices = {
  discovered_service: { gateway: string; service: string; endpoints: unknown[] };
};

/**
 * Whether discovery has found endpoints for a service of this gateway: for the warning of a mapping whose service is not there (yet).
 * True for what a static list names, whatever the port, and for what some mapping named and a worker found. A name that only DNS
 * knows is unknown until a mapping has asked for it.
 */
export async function isServiceKnown(db: Db, gateway: string, service: { readonly host: string; readonly port: number }): Promise<boolean> {
  const rows = await db
    .withTables<DiscoveredServices>()
    .selectFrom('discovered_service')
    .select('endpoints')
    .where('gateway', '=', gateway)
    .where('service', 'in', [service.host, `${service.host}:${service.port}`])
    .execute();
  return rows.some((row) => row.endpoints.length > 0);
}

import { type Db, named, sqlQuery } from '#platform/database/database.js';

import type { ServicePicture } from '#platform/kubernetes/service-picture.js';

import { type ClusterAnswer, clusterAnswer } from './cluster-service.js';

/** What the discovery says of a name that it has not asked for yet; see `resolve`. */
export const NOT_LOOKED_UP = 'not looked up yet';

/**
 * Whether discovery has endpoints for a service of this gateway: for the warning of a mapping whose service is not there (yet).
 * true: a static list names it, whatever the port, Kubernetes has an instance of it, or some mapping named it and a worker found it. false: a worker
 * has looked, and found none.
 * undefined: nobody has looked yet, so it cannot be said; a name that only DNS knows is looked up when a mapping asks for it.
 */
export async function isServiceKnown(
  db: Db,
  gateway: string,
  service: { readonly host: string; readonly port: number },
): Promise<boolean | undefined> {
  const [known] = await areServicesKnown(db, gateway, [service]);
  return known;
}

/** The same of many services, in their order. */
export async function areServicesKnown(
  db: Db,
  gateway: string,
  services: readonly { readonly host: string; readonly port: number }[],
): Promise<(boolean | undefined)[]> {
  const names = services.map(({ host, port }) => [host, `${host}:${port}`]);
  const rows = await sqlQuery<KnownRow>(db, SERVICES_KNOWN, [gateway, names.flat(), NOT_LOOKED_UP, services.map(({ host }) => host)]);
  const byName = new Map<string, { found: boolean; looked: boolean }>();
  const cluster = new Map<string, KnownRow>();
  for (const row of rows) {
    if (row.picture !== null) cluster.set(row.service, row);
    const sofar = byName.get(row.service);
    byName.set(row.service, { found: row.found || sofar?.found === true, looked: row.looked || sofar?.looked === true });
  }
  return services.map(({ host, port }, i) => {
    const said = (names[i] ?? []).flatMap((name) => byName.get(name) ?? []);
    const there = answerOfCluster(cluster.get(host), port);
    if (said.some(({ found }) => found) || (there?.endpoints.length ?? 0) > 0) return true;
    return there !== undefined || said.some(({ looked }) => looked) ? false : undefined;
  });
}

interface KnownRow {
  readonly service: string;
  readonly found: boolean;
  readonly looked: boolean;
  /** Of a Service of Kubernetes; null for what discovery wrote of the gateway's services. */
  readonly picture: ServicePicture | null;
  readonly namespace: string;
  readonly name: string;
}

function answerOfCluster(row: KnownRow | undefined, port: number): ClusterAnswer | undefined {
  if (row === undefined || row.picture === null) return undefined;
  return clusterAnswer({ ...row, isCertain: true }, port, { picture: row.picture, isListed: true });
}

/** What discovery wrote of a service. No endpoints: `error` says why when there is a reason. */
export interface KnownEndpoints {
  readonly source: string;
  readonly endpoints: readonly { readonly address: string; readonly port: number }[];
  readonly error: string;
}

/** Where a service of this gateway is, as discovery last wrote it; undefined: nobody has looked yet. */
export async function readKnownEndpoints(
  db: Db,
  gateway: string,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<KnownEndpoints | undefined> {
  const [found] = await sqlQuery<KnownEndpoints>(
    db,
    // The entry for the very port before that of the name alone.
    `SELECT source, endpoints, error FROM chancery.discovered_service
      WHERE gateway = $1 AND service = ANY ($2) ORDER BY length(service) DESC LIMIT 1`,
    [gateway, [host, `${host}:${port}`]],
  );
  if (found !== undefined) return found;
  const rows = await sqlQuery<KnownRow>(db, SERVICES_KNOWN, [gateway, [], NOT_LOOKED_UP, [host]]);
  const there = answerOfCluster(rows[0], port);
  return there === undefined ? undefined : { source: 'kubernetes', endpoints: there.endpoints, error: there.error };
}

const SERVICES_KNOWN = named(
  'chancery.services_known',
  `SELECT service, jsonb_array_length(endpoints) > 0 AS found, strpos(error, $3) = 0 AS looked, null::jsonb AS picture, '' AS namespace, '' AS name
     FROM chancery.discovered_service WHERE gateway = $1 AND service = ANY ($2)
    UNION ALL
   SELECT called, false, false, picture, namespace, name
     FROM chancery.kubernetes_service, unnest(names) AS called WHERE names && $4 AND called = ANY ($4)`,
);

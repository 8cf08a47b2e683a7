import { type Db, sqlQuery } from '#platform/database/database.js';
import type { ServicePicture } from '#platform/kubernetes/service-picture.js';

import { clusterNames } from './cluster-service.js';

/** A Service's `namespace/name`, and what it is; undefined: there is none any more. */
export type Pictures = ReadonlyMap<string, ServicePicture | undefined>;

/** What was last known of the Services of these namespaces; of all when there are none. */
export async function readKubernetesServices(db: Db, namespaces: readonly string[]): Promise<Map<string, ServicePicture>> {
  const rows = await sqlQuery<{ key: string; picture: ServicePicture }>(
    db,
    `select namespace || '/' || name as key, picture from chancery.kubernetes_service where cardinality($1::text[]) = 0 or namespace = any ($1)`,
    [namespaces],
  );
  return new Map(rows.map(({ key, picture }) => [key, picture]));
}

/**
 * Writes what is known of these Services. `whole`: there are no others, in these namespaces or at all.
 * What is written already is left alone: several workers write the same.
 */
export async function writeKubernetesServices(
  db: Db,
  pictures: Pictures,
  { ownNamespace, whole }: { readonly ownNamespace: string; readonly whole?: readonly string[] | undefined },
): Promise<void> {
  const living = [...pictures].flatMap(([key, picture]) => (picture === undefined ? [] : [{ ...split(key), picture }]));
  const gone = [...pictures].flatMap(([key, picture]) => (picture === undefined ? [key] : []));
  await sqlQuery(
    db,
    `with gone as (
       delete from chancery.kubernetes_service
        where namespace || '/' || name = any ($5)
           or ($6 and (cardinality($7::text[]) = 0 or namespace = any ($7)) and not namespace || '/' || name = any ($8)))
     insert into chancery.kubernetes_service as k (namespace, name, names, picture)
     select s.namespace, s.name, string_to_array(s.names, ' '), s.picture
       from unnest($1::text[], $2::text[], $3::text[], $4::jsonb[]) as s (namespace, name, names, picture)
     on conflict (namespace, name) do update set names = excluded.names, picture = excluded.picture, at = clock_timestamp()
      where (k.names, k.picture) is distinct from (excluded.names, excluded.picture)`,
    [
      living.map(({ namespace }) => namespace),
      living.map(({ name }) => name),
      living.map((service) => clusterNames(service, ownNamespace).join(' ')),
      living.map(({ picture }) => JSON.stringify(picture)),
      gone,
      whole !== undefined,
      whole ?? [],
      [...pictures.keys()],
    ],
  );
}

function split(key: string): { namespace: string; name: string } {
  const at = key.indexOf('/');
  return { namespace: key.slice(0, at), name: key.slice(at + 1) };
}

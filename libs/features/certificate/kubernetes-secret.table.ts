import { type Db, sqlQuery } from '#platform/database/database.js';

/** A Secret of Kubernetes in one state of it. */
export interface SecretSeen {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
}

/** The problem of a Secret whose gateway is not there: it begins with this code, and is over when there is one. */
export const NO_GATEWAY = 'gateway_not_found';

/** Whether this state of the Secret was dealt with for good, by any worker. */
export async function isSecretSeen(db: Db, { namespace, name, uid, resourceVersion }: SecretSeen): Promise<boolean> {
  const rows = await sqlQuery(
    db,
    `select from chancery.kubernetes_secret
      where namespace = $1 and name = $2 and uid = $3 and resource_version = $4 and not starts_with(problem, $5)`,
    [namespace, name, uid, resourceVersion, `${NO_GATEWAY}:`],
  );
  return rows.length > 0;
}

/** This state was dealt with; `problem` says why it is not the certificate, '' when it is. */
export async function writeSecretSeen(
  db: Db,
  { namespace, name, uid, resourceVersion }: SecretSeen,
  outcome: { readonly gateway: string; readonly certificate: string; readonly problem: string },
): Promise<void> {
  await sqlQuery(
    db,
    `insert into chancery.kubernetes_secret (namespace, name, uid, resource_version, gateway, certificate, problem)
     values ($1, $2, $3, $4, $5, $6, $7)
     on conflict (namespace, name) do update
        set uid = excluded.uid, resource_version = excluded.resource_version, gateway = excluded.gateway, certificate = excluded.certificate,
            problem = excluded.problem, at = clock_timestamp()`,
    [namespace, name, uid, resourceVersion, outcome.gateway, outcome.certificate, outcome.problem],
  );
}

/** The Secret is not there any more. What it brought stays. */
export async function forgetSecret(db: Db, { namespace, name }: Pick<SecretSeen, 'namespace' | 'name'>): Promise<void> {
  await sqlQuery(db, 'delete from chancery.kubernetes_secret where namespace = $1 and name = $2', [namespace, name]);
}

/** Of this namespace there are these Secrets and no others. */
export async function forgetSecretsBut(db: Db, namespace: string, names: readonly string[]): Promise<void> {
  await sqlQuery(db, 'delete from chancery.kubernetes_secret where namespace = $1 and name <> all ($2::text[])', [namespace, names]);
}

/** How many Secrets are not the certificates that they should be. */
export async function countSecretProblems(db: Db): Promise<number> {
  const [row] = await sqlQuery<{ count: number }>(
    db,
    "select count(*)::int as count from chancery.kubernetes_secret where problem <> ''",
    [],
  );
  return row?.count ?? 0;
}

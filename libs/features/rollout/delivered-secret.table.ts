import { type Db, sqlQuery } from '#platform/database/database.js';

/** Notes what Envoys are given for a secret. The same secret always gives the same. */
export async function writeDeliveredHash(db: Db, secret: string, sha256: string): Promise<void> {
  const text = `insert into chancery.delivered_secret (secret, sha256) values ($1, $2)
                on conflict (secret) do update set sha256 = excluded.sha256 where chancery.delivered_secret.sha256 <> excluded.sha256`;
  await sqlQuery(db, text, [secret, sha256]);
}

/** Undefined when no worker ever opened it. */
export async function readDeliveredHash(db: Db, secret: string): Promise<string | undefined> {
  const [row] = await sqlQuery<{ sha256: string }>(db, 'select sha256 from chancery.delivered_secret where secret = $1', [secret]);
  return row?.sha256;
}

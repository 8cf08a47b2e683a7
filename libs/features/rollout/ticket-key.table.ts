import { type Db, sqlQuery } from '#platform/database/database.js';

/** Where a key of a gateway's session tickets is kept, and how old it is. */
export interface TicketKeyRow {
  readonly number: number;
  readonly secret: { readonly id: string; readonly version: number };
  readonly ageMs: number;
}

/** The keys of a gateway, the newest first. */
export async function readTicketKeys(db: Db, gateway: string): Promise<TicketKeyRow[]> {
  const rows = await sqlQuery<{ number: number; id: string; version: number; age_ms: number }>(
    db,
    `select number, secret_id as id, secret_version as version, extract(epoch from clock_timestamp() - created_at) * 1000 as age_ms
       from chancery.session_ticket_key where gateway = $1 order by number desc`,
    [gateway],
  );
  return rows.map(({ number, id, version, age_ms }) => ({ number, secret: { id, version }, ageMs: Number(age_ms) }));
}

/** Notes a key under this number; false when another worker has taken the number meanwhile. */
export async function addTicketKey(db: Db, gateway: string, number: number, secret: { id: string; version: number }): Promise<boolean> {
  const rows = await sqlQuery(
    db,
    `insert into chancery.session_ticket_key (gateway, number, secret_id, secret_version) values ($1, $2, $3, $4)
     on conflict do nothing returning number`,
    [gateway, number, secret.id, secret.version],
  );
  return rows.length > 0;
}

/** Forgets the keys below this number. Answers the secrets that were theirs. */
export async function dropTicketKeys(db: Db, gateway: string, below: number): Promise<string[]> {
  const rows = await sqlQuery<{ id: string }>(
    db,
    'delete from chancery.session_ticket_key where gateway = $1 and number < $2 returning secret_id as id',
    [gateway, below],
  );
  return rows.map(({ id }) => id);
}

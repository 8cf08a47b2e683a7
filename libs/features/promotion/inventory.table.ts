import { type Db, sqlQuery } from '#platform/database/database.js';

/** What a gateway's targets serve: the mappings and certificates of a version, but for those that are not served. */
export interface StoredInventory {
  readonly version: number;
  /** By name. */
  readonly unserved: readonly string[];
  /** By name; null when that is not known. */
  readonly unservedCertificates: readonly string[] | null;
}

export async function readInventory(db: Db, gateway: string): Promise<StoredInventory | undefined> {
  const [row] = await sqlQuery<StoredInventory>(
    db,
    'select version, unserved, unserved_certificates as "unservedCertificates" from chancery.inventory where gateway = $1',
    [gateway],
  );
  return row;
}

/** Of several workers the one that is at the newest version is believed. */
export async function writeInventory(db: Db, gateway: string, inventory: StoredInventory): Promise<void> {
  const { version, unserved, unservedCertificates } = inventory;
  await sqlQuery(
    db,
    `insert into chancery.inventory as i (gateway, version, unserved, unserved_certificates) values ($1, $2, $3, $4)
     on conflict (gateway) do update
        set version = excluded.version, unserved = excluded.unserved, unserved_certificates = excluded.unserved_certificates
      where i.version <= excluded.version`,
    [gateway, version, unserved, unservedCertificates],
  );
}

/** The mappings and certificates that commands have named one by one after a version: whatever became of them was ordered. Imports name nothing. */
export async function listOrdered(db: Db, gateway: string, after: number): Promise<string[]> {
  const rows = await sqlQuery<{ subject: string }>(
    db,
    `select distinct e.subject from chancery.version v join chancery.event e on e.stream = v.stream and e.version = v.version
      where v.stream = 'gateway/' || $1 and v.version > $2 and v.action <> 'ImportConfiguration' and (e.subject like 'mapping/%' or e.subject like 'certificate/%')`,
    [gateway, after],
  );
  return rows.map(({ subject }) => subject);
}

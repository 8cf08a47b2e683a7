import { type Db, sqlQuery } from '#platform/database/database.js';
import { failpoint } from '#platform/failpoint/failpoint.js';
import { DomainError } from '#platform/kernel/errors.js';

import type { KeyRing } from './key-file.js';
import { rewrap, SealBroken, type SecretPlace } from './sealing.js';

interface WrappedRow extends SecretPlace {
  readonly kekId: string;
  readonly wrappedKey: Buffer;
}

export interface Rotated {
  readonly rewrapped: number;
  /** Secrets that could not be opened, each with the reason. They stay as they are. */
  readonly failed: readonly { readonly id: string; readonly gateway: string; readonly name: string; readonly reason: string }[];
}

const AT_ONCE = 200;

/**
 * Brings every secret under the key that writes. Only the keys of secrets are encrypted anew, row by row, each in a statement of its own: it may be broken off
 * anywhere and begun again, and every secret can be opened at every moment with a file that holds both keys.
 */
export async function rotateSecrets(db: Db, ring: KeyRing): Promise<Rotated> {
  const failed: Rotated['failed'][number][] = [];
  let rewrapped = 0;
  for (let after = '00000000-0000-0000-0000-000000000000'; ; ) {
    const rows = await sqlQuery<WrappedRow>(
      db,
      `SELECT id, gateway, name, version, kek_id AS "kekId", wrapped_key AS "wrappedKey" FROM chancery.secret
       WHERE kek_id <> $1 AND id > $2 ORDER BY id LIMIT $3`,
      [ring.writes.id, after, AT_ONCE],
    );
    for (const row of rows) {
      const reason = await rewrapRow(db, ring, row);
      if (reason === undefined) rewrapped += 1;
      else failed.push({ id: row.id, gateway: row.gateway, name: row.name, reason });
    }
    const last = rows.at(-1);
    if (last === undefined) return { rewrapped, failed };
    after = last.id;
  }
}

/** Why it could not be done, or undefined. */
async function rewrapRow(db: Db, ring: KeyRing, { kekId, wrappedKey, ...place }: WrappedRow): Promise<string | undefined> {
  const from = ring.all.get(kekId);
  if (from === undefined) return `the key ${kekId} is not in the file`;
  try {
    const wrapped = rewrap(wrappedKey, place, from, ring.writes);
    await sqlQuery(db, 'UPDATE chancery.secret SET kek_id = $3, wrapped_key = $4 WHERE id = $1 AND kek_id = $2', [
      place.id,
      kekId,
      ring.writes.id,
      wrapped,
    ]);
    failpoint('keys.afterRewrap');
    return undefined;
  } catch (error) {
    if (error instanceof SealBroken) return error.message;
    throw error;
  }
}

/** How many secrets are under each key. */
export async function countSecrets(db: Db): Promise<ReadonlyMap<string, number>> {
  const rows = await sqlQuery<{ id: string; count: number }>(
    db,
    'SELECT kek_id AS id, count(*) AS count FROM chancery.secret GROUP BY kek_id ORDER BY kek_id',
    [],
  );
  return new Map(rows.map(({ id, count }) => [id, count]));
}

/** A key ring without a key. @throws DomainError conflict `key_in_use` while secrets are under it, or it is the one that writes; not_found `key_not_found`. */
export async function withoutKey(db: Db, ring: KeyRing, id: string): Promise<KeyRing> {
  if (!ring.all.has(id)) throw new DomainError('not_found', 'key_not_found', `The key file holds no key ${id}.`);
  if (ring.writes.id === id)
    throw new DomainError('conflict', 'key_in_use', `The key ${id} is the one that new secrets are kept under; add another one first.`);
  const count = (await countSecrets(db)).get(id) ?? 0;
  if (count > 0)
    throw new DomainError(
      'conflict',
      'key_in_use',
      `${count} secrets are under the key ${id}; bring them under the new one first: chancery keys rotate.`,
    );
  return { ...ring, all: new Map([...ring.all].filter(([other]) => other !== id)) };
}

import { randomUUID } from 'node:crypto';

import { type Db, sqlQuery } from '#platform/database/database.js';
import { DomainError } from '#platform/kernel/errors.js';

import type { KeyFile } from './key-file.js';
import { SealBroken, type SealedSecret, type SecretPlace, seal, unseal } from './sealing.js';
import { Secret } from './secret.js';

/** Whose secret it is. */
export interface SecretOwner {
  readonly gateway: string;
  readonly name: string;
}

/** What the log says of a secret: where it is, never what it is. */
export interface SecretRef {
  readonly id: string;
  /** Counts the secrets of one owner. */
  readonly version: number;
}

interface SecretRow extends SealedSecret {
  readonly id: string;
  readonly gateway: string;
  readonly name: string;
  readonly version: number;
  readonly open_part: string;
}

const UNIQUE_VIOLATION = '23505';
const MOST_TRIES = 20;

/**
 * Secrets at rest: each encrypted with a key of its own, and that key with one of the key file. A secret is written once and never changed; it is written
 * before the event that names it, so that no event names what is not there, and swept when no event came.
 */
export class Vault {
  readonly #db: Db;
  readonly #keys: KeyFile;

  constructor(db: Db, keys: KeyFile) {
    this.#db = db;
    this.#keys = keys;
  }

  /** @throws DomainError unavailable when nothing could be kept now, see `KeyFile`. */
  requireKeys(): void {
    this.#keys.keys();
  }

  /** Keeps a secret. `openPart` stands beside it for everybody to read, and cannot be exchanged either. @throws DomainError unavailable, see `KeyFile`. */
  async put(owner: SecretOwner, secret: Secret<string>, openPart: string): Promise<SecretRef> {
    const kek = this.#keys.keys().writes;
    for (let tries = 1; ; tries++) {
      const place: SecretPlace = { id: randomUUID(), ...owner, version: await this.#nextVersion(owner) };
      const sealed = seal(Buffer.from(secret.reveal(), 'utf8'), place, kek, openPart);
      try {
        await this.#insert(place, sealed, openPart);
        return { id: place.id, version: place.version };
      } catch (error) {
        // Somebody else took this version in the same moment.
        if ((error as { code?: unknown }).code !== UNIQUE_VIOLATION || tries === MOST_TRIES) throw error;
      }
    }
  }

  /** @throws DomainError unavailable `secret_missing`, `secret_broken`, and as `KeyFile.key`. */
  async open(owner: SecretOwner, ref: SecretRef): Promise<Secret<string>> {
    const row = await this.#row(owner, ref);
    const kek = this.#keys.key(row.kekId);
    try {
      return new Secret(unseal(row, { ...owner, ...ref }, kek, row.open_part).toString('utf8'));
    } catch (cause) {
      if (!(cause instanceof SealBroken)) throw cause;
      const message = `The secret of ${owner.name} in the database cannot be opened with the key ${kek.id}: the key is another one of this name, or the row was altered.`;
      throw new DomainError('unavailable', 'secret_broken', message, { cause });
    }
  }

  /** What stands beside a secret; no key is needed. @throws DomainError unavailable `secret_missing`. */
  async readOpenPart(owner: SecretOwner, ref: SecretRef): Promise<string> {
    return (await this.#row(owner, ref)).open_part;
  }

  /** Forgets secrets for good. */
  destroy(ids: readonly string[]): Promise<void> {
    return destroySecrets(this.#db, ids);
  }

  async #nextVersion({ gateway, name }: SecretOwner): Promise<number> {
    const text = 'SELECT coalesce(max(version), 0) + 1 AS version FROM chancery.secret WHERE gateway = $1 AND name = $2';
    const [row] = await sqlQuery<{ version: number }>(this.#db, text, [gateway, name]);
    return row?.version ?? 1;
  }

  async #insert({ id, gateway, name, version }: SecretPlace, sealed: SealedSecret, openPart: string): Promise<void> {
    const { kekId, wrappedKey, iv, tag, ciphertext } = sealed;
    await sqlQuery(
      this.#db,
      `INSERT INTO chancery.secret (id, gateway, name, version, kek_id, wrapped_key, iv, tag, ciphertext, open_part)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
      [id, gateway, name, version, kekId, wrappedKey, iv, tag, ciphertext, openPart],
    );
  }

  async #row({ gateway, name }: SecretOwner, { id, version }: SecretRef): Promise<SecretRow> {
    const [row] = await sqlQuery<SecretRow>(
      this.#db,
      `SELECT id, gateway, name, version, kek_id AS "kekId", wrapped_key AS "wrappedKey", iv, tag, ciphertext, open_part
       FROM chancery.secret WHERE id = $1 AND gateway = $2 AND name = $3 AND version = $4`,
      [id, gateway, name, version],
    );
    if (row !== undefined) return row;
    throw new DomainError(
      'unavailable',
      'secret_missing',
      `The secret of ${name} (version ${version}) is not in the database any more: push the certificate again.`,
    );
  }
}

/** Which of these secrets are kept, by their ids. */
export async function presentSecrets(db: Db, ids: readonly string[]): Promise<ReadonlySet<string>> {
  const rows = await sqlQuery<{ id: string }>(db, 'SELECT id FROM chancery.secret WHERE id = ANY ($1::uuid[])', [ids]);
  return new Set(rows.map(({ id }) => id));
}

/** Forgets secrets for good; no key is needed for that. */
export async function destroySecrets(db: Db, ids: readonly string[]): Promise<void> {
  if (ids.length > 0) await sqlQuery(db, 'DELETE FROM chancery.secret WHERE id = ANY ($1::uuid[])', [ids]);
}

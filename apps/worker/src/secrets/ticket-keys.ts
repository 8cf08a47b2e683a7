import { randomBytes } from 'node:crypto';

import { sessionTickets, ticketSecret } from '#features/gateway/tls-secrets.envoy.js';
import { addTicketKey, dropTicketKeys, readTicketKeys, type TicketKeyRow } from '#features/rollout/ticket-key.table.js';
import type { Db } from '#platform/database/database.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';
import { Secret } from '#platform/vault/secret.js';
import type { SecretRef, Vault } from '#platform/vault/vault.js';
import type { XdsResource } from '#platform/xds/xds-resource.js';

import { formsOf, heldForms, noteForms, type SecretForms } from './secret-forms.js';

export interface TicketKeysOptions {
  readonly db: Db;
  readonly vault: Pick<Vault, 'open' | 'put' | 'destroy'>;
  readonly log: Log;
  /** How old the newest key becomes before there is a newer one. Milliseconds. */
  readonly everyMs: number;
  /** How often that is looked at. Milliseconds. */
  readonly lookMs: number;
  onChange(gateway: string): void;
}

/** Envoy's: a name of 16 bytes, two keys of 32. */
const KEY_BYTES = 80;
/** One that does not seal yet, so that every Envoy can open what the first that changes over seals; the one that seals; and two that sealed before. */
const KEPT = 4;

/**
 * The keys of session tickets, by which the sessions of a gateway's clients outlive each Envoy and are resumed on any other: made here, kept as secrets,
 * renewed. Every worker looks; whoever comes second finds that the number is taken.
 */
export class TicketKeys {
  readonly #options: TicketKeysOptions;
  readonly #forms = new Map<string, SecretForms | null>();
  readonly #reading = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  #closed = false;

  constructor(options: TicketKeysOptions) {
    this.#options = options;
    this.#timer = setInterval(() => {
      for (const gateway of this.#forms.keys()) this.#look(gateway);
    }, options.lookMs);
  }

  /** The secret with the keys; null where there are none, since no secret can be kept or opened. Begins to look when nothing is known. */
  of(gateway: string): SecretForms | null | 'waiting' {
    const known = this.#forms.get(gateway);
    if (known !== undefined) return known;
    this.#look(gateway);
    return 'waiting';
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
  }

  #look(gateway: string): void {
    if (this.#reading.has(gateway)) return;
    this.#reading.add(gateway);
    this.#read(gateway)
      .then(
        (forms) => this.#take(gateway, forms),
        (err: unknown) => {
          if (this.#closed) return;
          this.#options.log.warn({ err, gateway }, 'the keys of session tickets could not be read; they are read again');
          setTimeout(() => !this.#closed && this.#look(gateway), 1_000);
        },
      )
      .finally(() => this.#reading.delete(gateway));
  }

  #take(gateway: string, forms: SecretForms | null): void {
    if (this.#closed) return;
    const known = this.#forms.get(gateway);
    // What could not be opened has no bytes, and the same version as what can be opened now.
    if (known !== undefined && isSame(known?.resource, forms?.resource)) return;
    this.#forms.set(gateway, forms);
    this.#options.onChange(gateway);
  }

  async #read(gateway: string): Promise<SecretForms | null> {
    const { db, vault, log } = this.#options;
    const rows = await this.#renewed(gateway);
    const [newest, ...older] = rows.slice(0, KEPT);
    if (newest === undefined) return null;
    const inOrder = older.length === 0 ? [newest] : [...older.slice(0, 1), newest, ...older.slice(1)];
    const id = inOrder.map(({ secret }) => secret.id).join(' ');
    try {
      const keys: Buffer[] = [];
      for (const { secret } of inOrder) keys.push(Buffer.from((await vault.open(ownerOf(gateway), secret)).reveal(), 'base64'));
      const forms = formsOf(ticketSecret(keys));
      await noteForms(db, id, forms);
      return forms;
    } catch (error) {
      if (!(error instanceof DomainError)) throw error;
      log.error({ gateway, code: error.code }, 'the keys of session tickets cannot be opened; nodes that have them keep them');
      return (await heldForms(db, id, sessionTickets)) ?? null;
    }
  }

  /** The keys of the gateway, with a new one when it is time. */
  async #renewed(gateway: string): Promise<readonly TicketKeyRow[]> {
    const { db, vault, everyMs } = this.#options;
    const rows = await readTicketKeys(db, gateway);
    const newest = rows[0];
    if (newest !== undefined && newest.ageMs < everyMs) return rows;
    const number = (newest?.number ?? 0) + 1;
    let secret: SecretRef;
    try {
      secret = await vault.put(ownerOf(gateway), new Secret(randomBytes(KEY_BYTES).toString('base64')), '');
    } catch (error) {
      if (!(error instanceof DomainError)) throw error;
      return rows; // no key to keep it with: the ones there are serve on
    }
    if (!(await addTicketKey(db, gateway, number, secret))) await vault.destroy([secret.id]);
    else await vault.destroy(await dropTicketKeys(db, gateway, number - KEPT));
    return readTicketKeys(db, gateway);
  }
}

function isSame(one: XdsResource | undefined, other: XdsResource | undefined): boolean {
  return one?.version === other?.version && one?.value.length === other?.value.length;
}

/** No certificate can be called so. */
function ownerOf(gateway: string) {
  return { gateway, name: 'tickets/session' };
}

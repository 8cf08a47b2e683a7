import { randomUUID, timingSafeEqual } from 'node:crypto';

import type { Db } from '#platform/database/database.js';
import type { EventStore } from '#platform/eventstore/event-store.js';
import { readSubject } from '#platform/eventstore/read-log.js';
import { DomainError } from '#platform/kernel/errors.js';

import { ACCESS_STREAM, type TokenState, tokenSubject, useToken } from './access.js';
import { parseToken, secretHash } from './token-format.js';

/** A token that was presented with its secret and is good now. */
export interface VerifiedToken {
  readonly id: string;
  /** `token/<id>`: what the log says of what is done with it. */
  readonly actor: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly expiresAt: string;
}

/** How long a token is believed without another look. Revocation must hold within 5 s everywhere; this leaves 3 s for the look itself. */
const BELIEVED_MS = 2_000;
/** Without a database a known token is believed this long, so that a blink of Postgres is not an outage of everyone's. */
const BELIEVED_BLIND_MS = 5_000;
const MOST_REMEMBERED = 10_000;
const nothing = secretHash('');

interface Remembered {
  state: TokenState | null;
  readonly at: number;
}

/**
 * Verifies tokens against the log. Used by every process that lets others in: the api for people and programs, the worker for agents.
 * `now` is in ms since 1970.
 */
export class TokenVerifier {
  readonly #db: Db;
  readonly #events: EventStore;
  readonly #now: () => number;
  readonly #remembered = new Map<string, Remembered>();
  readonly #underWay = new Map<string, Promise<TokenState | null>>();
  readonly #firstUses = new Map<string, Promise<void>>();

  constructor(options: { readonly db: Db; readonly events: EventStore; readonly now?: () => number }) {
    this.#db = options.db;
    this.#events = options.events;
    this.#now = options.now ?? Date.now;
  }

  /**
   * Lets a token in. Its first use is recorded before: what cannot be recorded does not happen.
   * @throws DomainError unauthenticated: `token_malformed`, `token_invalid` (no such token, or another secret: the two look alike),
   * `token_revoked`, `token_expired` (`extra.tokenId` says whose: its secret was right). Database errors come out as they are.
   */
  async verify(presented: string, requestId: string | null = null): Promise<VerifiedToken> {
    const token = parseToken(presented);
    if (token === undefined)
      throw new DomainError('unauthenticated', 'token_malformed', 'This is not a token of ours: they look like chy_<id>_<secret>.');
    const state = await this.#lookUp(token.id);
    const right = timingSafeEqual(secretHash(token.secret), state?.secretSha256 == null ? nothing : Buffer.from(state.secretSha256, 'hex'));
    if (state !== null && state.revokedAt !== null) throw new DomainError('unauthenticated', 'token_revoked', 'This token was revoked.');
    if (state === null || !right) throw new DomainError('unauthenticated', 'token_invalid', 'There is no such token.');
    if (Date.parse(state.expiresAt) <= this.#now())
      throw new DomainError('unauthenticated', 'token_expired', 'This token has expired. Make another.', { extra: { tokenId: state.id } });
    if ((state.firstUsedAt ?? null) === null) await this.#recordFirstUse(state, requestId);
    return { id: state.id, actor: tokenSubject(state.id), name: state.name, scopes: state.scopes, expiresAt: state.expiresAt };
  }

  /** True when a token of this id was seen to exist; costs no look. */
  knows(id: string): boolean {
    return this.#remembered.get(id)?.state != null;
  }

  /** Once for many requests of this process at a time; the decision sees to it that many processes record one. */
  #recordFirstUse(state: TokenState, requestId: string | null): Promise<void> {
    const underWay = this.#firstUses.get(state.id);
    if (underWay !== undefined) return underWay;
    const actor = tokenSubject(state.id);
    const firstUsedAt = new Date(this.#now()).toISOString();
    const context = { commandId: randomUUID(), action: 'UseToken', actor, requestId };
    const work = this.#events
      .handle({ stream: ACCESS_STREAM, subjects: [actor], context }, useToken(state.id, firstUsedAt))
      .then(() => {
        const known = this.#remembered.get(state.id);
        if (known?.state != null) known.state = { ...known.state, firstUsedAt };
      })
      .finally(() => this.#firstUses.delete(state.id));
    this.#firstUses.set(state.id, work);
    return work;
  }

  async #lookUp(id: string): Promise<TokenState | null> {
    const known = this.#remembered.get(id);
    if (known !== undefined && this.#now() - known.at < BELIEVED_MS) return known.state;
    try {
      return await this.#lookUpOnce(id);
    } catch (error) {
      if (known?.state != null && this.#now() - known.at < BELIEVED_BLIND_MS) return known.state;
      throw error;
    }
  }

  /** Many requests with one token make one look. */
  #lookUpOnce(id: string): Promise<TokenState | null> {
    const underWay = this.#underWay.get(id);
    if (underWay !== undefined) return underWay;
    const at = this.#now(); // Before the look: what is found may be this old.
    const look = readSubject(this.#db, ACCESS_STREAM, tokenSubject(id))
      .then((record) => {
        const state = record.state as TokenState | null;
        if (state !== null) this.#remember(id, { state, at });
        return state;
      })
      .finally(() => this.#underWay.delete(id));
    this.#underWay.set(id, look);
    return look;
  }

  /** Only tokens that exist are remembered, so that guesses cannot push them out. */
  #remember(id: string, remembered: Remembered): void {
    this.#remembered.delete(id);
    this.#remembered.set(id, remembered);
    const [oldest] = this.#remembered.keys();
    if (this.#remembered.size > MOST_REMEMBERED && oldest !== undefined) this.#remembered.delete(oldest);
  }
}

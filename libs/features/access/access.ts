import type { NewEvent, View } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { JsonObject } from '#platform/kernel/json.js';

/**
 * Tokens: who may ask. A token is created, is used for the first time, may be revoked, and expires by itself; what it may do never changes. The stream `access` keeps the
 * SHA-256 of its secret (256 random bits need no slow hash); the secret itself is shown once and kept nowhere.
 */
export interface TokenState extends JsonObject {
  readonly id: string;
  readonly name: string;
  /** `read`, `write`, `deploy`, `admin`, `certificates`, `audit`, `agent:<target>`, `agent:*`. */
  readonly scopes: readonly string[];
  /** 64 hexadecimal digits; null once revoked, so that even the hash is of no more use. */
  readonly secretSha256: string | null;
  /** ISO 8601 in UTC. */
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly createdBy: string;
  readonly revokedAt: string | null;
  /** When it was first presented and let in; null, or missing in states from before this was recorded, while it has not been. */
  readonly firstUsedAt?: string | null;
}

export const ACCESS_STREAM = 'access';
export const MAX_TOKEN_DAYS = 90;
export const DEFAULT_TOKEN_DAYS = 30;

export function tokenSubject(id: string): string {
  return `token/${id}`;
}

/** The decision of CreateToken. `state` is complete; ids are random, so one that exists is a defect or an attack. */
export const createToken =
  (state: TokenState) =>
  (view: View): NewEvent[] => {
    const subject = tokenSubject(state.id);
    if (view.subject(subject).version > 0) throw new DomainError('conflict', 'token_exists', 'A token of this id exists.');
    return [{ type: 'TokenCreated', schemaVersion: 1, subject, state }];
  };

/** The decision of recording a first use. One that was recorded before, and a token that is not there (any more), are no change. */
export const useToken =
  (id: string, now: string) =>
  (view: View): NewEvent[] => {
    const subject = tokenSubject(id);
    const state = view.subject(subject).state as TokenState | null;
    if (state === null || state.revokedAt !== null || (state.firstUsedAt ?? null) !== null) return [];
    return [{ type: 'TokenFirstUsed', schemaVersion: 1, subject, state: { ...state, firstUsedAt: now } }];
  };

/** The decision of RevokeToken. Revoking twice is no change. */
export const revokeToken =
  (id: string, now: string) =>
  (view: View): NewEvent[] => {
    const subject = tokenSubject(id);
    const state = view.subject(subject).state as TokenState | null;
    if (state === null) throw new DomainError('not_found', 'token_not_found', 'There is no token of this id.');
    if (state.revokedAt !== null) return [];
    return [{ type: 'TokenRevoked', schemaVersion: 1, subject, state: { ...state, secretSha256: null, revokedAt: now } }];
  };

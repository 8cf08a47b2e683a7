import type { FastifyRequest } from 'fastify';

import { addressKey } from '#platform/http/address-key.js';
import type { Admit } from '#platform/http/large-body.js';
import { withDeadline } from '#platform/http/query-runner.js';
import { DomainError } from '#platform/kernel/errors.js';

import { presentedToken, VERIFY_DEADLINE_MS } from './access.guard.js';
import type { AttemptLimiter } from './attempt-limiter.js';
import { parseToken } from './token-format.js';
import type { TokenVerifier } from './token-verifier.js';

/**
 * Who may send a large body: a token that is good and may write. It only looks; the guard, which comes after it, refuses the others, counts their
 * failures and says why. An address that has failed too often gets no look into the database on behalf of a token that nobody has seen.
 */
export function admitWriters({ verifier, limiter }: { readonly verifier: TokenVerifier; readonly limiter: AttemptLimiter }): Admit {
  return async (request: FastifyRequest) => {
    const presented = presentedToken(request.headers.authorization);
    const id = presented === undefined ? undefined : parseToken(presented)?.id;
    if (presented === undefined || id === undefined) return false;
    if (!verifier.knows(id) && limiter.limited(addressKey(request.ip)) && !limiter.mayLook()) return false;
    try {
      return (await withDeadline(verifier.verify(presented), VERIFY_DEADLINE_MS)).scopes.includes('write');
    } catch (error) {
      if (error instanceof DomainError && error.kind === 'unauthenticated') return false;
      throw error;
    }
  };
}

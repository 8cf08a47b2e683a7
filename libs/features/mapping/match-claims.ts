import { sha256Hex } from '#platform/kernel/digest.js';
import { DomainError, type FieldError } from '#platform/kernel/errors.js';
import { canonicalJson } from '#platform/kernel/json.js';

import type { MappingMatch } from './mapping-state.js';

/**
 * The unique keys that a mapping holds while it lives: one route, one owner.
 *
 * Two mappings collide when host, prefix or path, and the whole set of header conditions are equal, and either both
 * accept any method or they name a method in common. So `GET /user/` beside `/user/` for any method is allowed (the one
 * with more conditions is asked first), and so is `GET` beside `POST`; `GET, POST` beside `GET` is not. Precedence does
 * not count: of two equal matches the lower one could never be reached.
 *
 * A key stays readable while it is short; a long one is replaced by its hash, since it is an index entry.
 */
export function matchClaims(match: MappingMatch): string[] {
  const kind = match.path === null ? 'prefix' : 'path';
  const head = `match:${match.host}:${kind}:${match.path ?? match.prefix ?? ''}`;
  const headers = Object.keys(match.headers).length === 0 ? '' : ` ${canonicalJson(match.headers)}`;
  const methods = match.methods.length === 0 ? [''] : [...new Set(match.methods)].sort().map((method) => ` ${method}`);
  return methods.map((method) => shortened(`${head}${method}${headers}`));
}

/** Why a claim of a mapping was refused that `owner` (its subject) holds. */
export function takenMatch(claim: string, owner: string): FieldError {
  const name = owner.slice('mapping/'.length);
  const message = `The mapping "${name}" matches these requests already. Change or delete it, or tell the two apart by host, methods or headers.`;
  return { pointer: claim.includes(':path:') ? '/path' : '/prefix', code: 'claim_taken', message };
}

/** A refused claim in the words of the one who wrote the mapping; any other error as it is. */
export function explainTaken(error: unknown): unknown {
  if (!(error instanceof DomainError) || error.code !== 'claim_taken') return error;
  const fault = takenMatch(String(error.extra.claim), String(error.extra.owner));
  return new DomainError(error.kind, error.code, fault.message, { errors: [fault], extra: error.extra, cause: error });
}

function shortened(claim: string): string {
  return claim.length <= 512 ? claim : `match:sha256:${sha256Hex(claim)}`;
}

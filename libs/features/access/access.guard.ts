import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';

import { PUBLIC, SCOPES, type Scope } from '#platform/http/access.decorators.js';
import { addressKey } from '#platform/http/address-key.js';
import { HttpMetrics } from '#platform/http/http-metrics.js';
import { HttpProblem } from '#platform/http/http-problem.js';
import { withDeadline } from '#platform/http/query-runner.js';
import { rememberCaller } from '#platform/http/request-context.js';
import { DomainError } from '#platform/kernel/errors.js';

import { tokenSubject } from './access.js';
import { AttemptLimiter } from './attempt-limiter.js';
import { parseToken } from './token-format.js';
import { TokenVerifier, type VerifiedToken } from './token-verifier.js';

/** A database that does not answer is a 503 and not a hanging client. */
export const VERIFY_DEADLINE_MS = 5_000;

/**
 * Both ways in: most clients send Bearer; Basic with the token as the password makes `http://x:TOKEN@host` and a browser work. A browser
 * reads one challenge a header line, so they are two.
 */
const challenges = ['Bearer realm="chancery"', 'Basic realm="chancery: any user, a token as the password", charset="UTF-8"'];

/** The one guard. A route that says neither `@Public()` nor `@Scopes(...)` is closed to everyone. */
@Injectable()
export class AccessGuard implements CanActivate {
  constructor(
    private readonly reflector: Reflector,
    private readonly verifier: TokenVerifier,
    private readonly limiter: AttemptLimiter,
    private readonly metrics: HttpMetrics,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const places = [context.getHandler(), context.getClass()];
    if (this.reflector.getAllAndOverride<boolean>(PUBLIC, places) === true) return true;
    const request: FastifyRequest = context.switchToHttp().getRequest();
    const token = await this.authenticate(request);
    rememberCaller(request, { actor: token.actor, tokenId: token.id, scopes: token.scopes });
    const needed = this.reflector.getAllAndOverride<readonly Scope[]>(SCOPES, places);
    if (needed === undefined || needed.length === 0) throw new DomainError('forbidden', 'route_closed', 'This address is open to nobody.');
    const missing = needed.filter((scope) => !token.scopes.includes(scope));
    if (missing.length > 0) {
      throw new DomainError('forbidden', 'scope_missing', `This token lacks the scope ${missing.join(' and ')}.`, {
        extra: { missingScopes: missing },
      });
    }
    refuseForeignSites(request);
    return true;
  }

  private async authenticate(request: FastifyRequest): Promise<VerifiedToken> {
    const presented = presentedToken(request.headers.authorization);
    if (presented === undefined) throw this.refuse('token_missing', 'This request needs a token: Authorization: Bearer chy_...');
    const address = addressKey(request.ip);
    const id = parseToken(presented)?.id;
    const suspicious = this.limiter.limited(address) && (id === undefined || !this.verifier.knows(id));
    if (suspicious && (id === undefined || !this.limiter.mayLook())) throw this.tooMany(2);
    try {
      return await withDeadline(this.verifier.verify(presented, request.id), VERIFY_DEADLINE_MS);
    } catch (error) {
      if (!(error instanceof DomainError) || error.kind !== 'unauthenticated') throw error;
      const { tokenId } = error.extra;
      if (typeof tokenId === 'string') rememberCaller(request, { actor: tokenSubject(tokenId), tokenId, scopes: [] }); // whose refusal it is
      const retryAfterS = this.limiter.failed(id === undefined ? [address] : [address, `token/${id}`]);
      throw retryAfterS === undefined ? this.refuse(error.code, error.message) : this.tooMany(retryAfterS);
    }
  }

  private refuse(code: string, message: string): HttpProblem {
    this.metrics.authenticationFailures.inc({ code });
    return new HttpProblem(401, code, message, { headers: { 'WWW-Authenticate': challenges } });
  }

  private tooMany(retryAfterS: number): DomainError {
    this.metrics.authenticationFailures.inc({ code: 'attempts_exceeded' });
    return new DomainError('too_many', 'attempts_exceeded', 'Too many failed attempts. Wait a moment, and check the token.', {
      extra: { retryAfterS },
    });
  }
}

/** The token of a Bearer or Basic header; undefined for none, or for a header that is neither. */
export function presentedToken(header: string | undefined): string | undefined {
  const [, scheme, credentials] = /^(\S+)\s+(\S+)\s*$/.exec(header ?? '') ?? [];
  if (scheme === undefined || credentials === undefined) return undefined;
  if (scheme.toLowerCase() === 'bearer') return credentials;
  if (scheme.toLowerCase() !== 'basic') return undefined;
  const text = Buffer.from(credentials, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  return colon < 0 ? undefined : text.slice(colon + 1);
}

/** A browser that remembers Basic credentials sends them for any page's form; such a request may not write. */
function refuseForeignSites(request: FastifyRequest): void {
  const site = request.headers['sec-fetch-site'];
  if (site === 'cross-site' && request.method !== 'GET' && request.method !== 'HEAD') {
    throw new DomainError('forbidden', 'cross_site', 'A page of another site may not write here.');
  }
}

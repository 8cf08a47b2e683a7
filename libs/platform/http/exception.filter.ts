import { type ArgumentsHost, Catch, type ExceptionFilter, NotFoundException } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';

import { DomainError } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';

import { transportProblem } from './http-adapter.js';
import { HttpProblem } from './http-problem.js';
import { problemDocument, type Refusal, refusalOf } from './problem.js';
import { type AttemptRecorder, refusedAttempt } from './refused-attempt.js';
import { pathOf, rememberCode } from './request-context.js';
import type { RouteList } from './route-list.js';

/** How one part of the address space says no, where it is not a problem document: body and status. */
export interface RefusalShape {
  readonly prefix: string;
  shape(refused: Refusal, request: FastifyRequest): { readonly status: number; readonly body: Record<string, unknown> };
}

export interface FilterOptions {
  readonly log: Log;
  readonly routes: RouteList;
  readonly shapes: readonly RefusalShape[];
  readonly attempts: AttemptRecorder;
}

/**
 * The one place where an error becomes an answer. Everything that is thrown on the way of a request ends here, once. A refusal that belongs into the
 * trail is recorded first; it is answered as `audit_unavailable` when it cannot be.
 */
@Catch()
export class HttpExceptionFilter implements ExceptionFilter {
  constructor(private readonly options: FilterOptions) {}

  /** Never rejects: nobody waits for what it returns. */
  async catch(error: unknown, host: ArgumentsHost): Promise<void> {
    const request: FastifyRequest = host.switchToHttp().getRequest();
    const reply: FastifyReply = host.switchToHttp().getResponse();
    try {
      await this.answer(error, request, reply);
    } catch (err) {
      this.options.log.error({ err, requestId: request.id }, 'a request could not even be refused');
      reply.raw.destroy();
    }
  }

  private async answer(error: unknown, request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const refused = await this.recorded(refusalOf(this.routed(transportProblem(error) ?? error, request)), request);
    rememberCode(request, refused.code);
    if (refused.unexpected) this.options.log.error({ err: error, requestId: request.id }, 'a request failed by a defect of ours');
    if (reply.sent || reply.raw.headersSent) {
      reply.raw.destroy(); // An answer that broke off half-way must not look whole.
      return;
    }
    const path = pathOf(request);
    const other = this.options.shapes.find((shape) => path.startsWith(shape.prefix));
    const answer = other?.shape(refused, request) ?? { status: refused.status, body: problemDocument(refused, path, request.id) };
    const type = other === undefined ? 'application/problem+json' : 'application/json';
    reply
      .status(answer.status)
      .headers({ ...refused.headers })
      .type(type)
      .send(JSON.stringify(answer.body));
  }

  /** The refusal itself once it is recorded, or that it cannot be. */
  private async recorded(refused: Refusal, request: FastifyRequest): Promise<Refusal> {
    const attempt = refusedAttempt(request, refused);
    if (attempt === undefined) return refused;
    try {
      await this.options.attempts.record(attempt);
      return refused;
    } catch (err) {
      this.options.log.warn({ err, requestId: request.id, code: refused.code }, 'a refusal could not be recorded');
      const message = 'The request was refused, and the refusal could not be recorded. Nothing was changed; try again in a moment.';
      return refusalOf(new DomainError('unavailable', 'audit_unavailable', message, { cause: err }));
    }
  }

  /** Nothing at this address, or something that takes other methods? */
  private routed(error: unknown, request: FastifyRequest): unknown {
    if (!(error instanceof NotFoundException) || !request.is404) return error;
    const methods = this.options.routes.methodsAt(pathOf(request));
    if (methods.length === 0) return error;
    const allow = methods.join(', ');
    return new HttpProblem(405, 'method_not_allowed', `This address takes ${allow}.`, { headers: { Allow: allow } });
  }
}

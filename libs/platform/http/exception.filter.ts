import { type ArgumentsHost, Catch, type ExceptionFilter, NotFoundException } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';

import type { Log } from '#platform/log/log.js';

import { transportProblem } from './http-adapter.js';
import { HttpProblem } from './http-problem.js';
import { problemDocument, type Refusal, refusalOf } from './problem.js';
import { pathOf, rememberCode } from './request-context.js';
import type { RouteList } from './route-list.js';

/** How one part of the address space says no, where it is not a problem document: body and status. */
export interface RefusalShape {
  readonly prefix: string;
  shape(refused: Refusal, request: FastifyRequest): { readonly status: number; readonly body: Record<string, unknown> };
}

/** The one place where an error becomes an answer. Everything that is thrown on the way of a request ends here, once. */
@Catch()
export class HttpExceptionFilter implements ExceptionFilter {
  constructor(private readonly options: { readonly log: Log; readonly routes: RouteList; readonly shapes: readonly RefusalShape[] }) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const request: FastifyRequest = host.switchToHttp().getRequest();
    const reply: FastifyReply = host.switchToHttp().getResponse();
    const refused = refusalOf(this.routed(transportProblem(error) ?? error, request));
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

  /** Nothing at this address, or something that takes other methods? */
  private routed(error: unknown, request: FastifyRequest): unknown {
    if (!(error instanceof NotFoundException) || !request.is404) return error;
    const methods = this.options.routes.methodsAt(pathOf(request));
    if (methods.length === 0) return error;
    const allow = methods.join(', ');
    return new HttpProblem(405, 'method_not_allowed', `This address takes ${allow}.`, { headers: { Allow: allow } });
  }
}

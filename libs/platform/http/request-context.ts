import { createParamDecorator, type ExecutionContext, Res } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';

import { DomainError } from '#platform/kernel/errors.js';

/** Who asks, once the guard has let them in. */
export interface Caller {
  /** `token/<id>`: what the log says under `actor`. */
  readonly actor: string;
  readonly tokenId: string;
  readonly scopes: readonly string[];
}

const callers = new WeakMap<FastifyRequest, Caller>();
const codes = new WeakMap<FastifyRequest, string>();
const commandIds = new WeakMap<FastifyRequest, string>();

/** Called by the guard, once. */
export function rememberCaller(request: FastifyRequest, caller: Caller): void {
  callers.set(request, caller);
}

/** The caller of an authenticated request, or undefined on a public route. */
export function callerOf(request: FastifyRequest): Caller | undefined {
  return callers.get(request);
}

/** The caller; a route that asks for one and has none is a defect, so it fails closed. */
export function requireCaller(request: FastifyRequest): Caller {
  const caller = callers.get(request);
  if (caller === undefined) throw new DomainError('unauthenticated', 'token_missing', 'This request needs a token.');
  return caller;
}

/** Called by the exception filter, for the log line of the request. */
export function rememberCode(request: FastifyRequest, code: string): void {
  codes.set(request, code);
}

export function codeOf(request: FastifyRequest): string | undefined {
  return codes.get(request);
}

/** Called where a write is read: a refusal of it is recorded with the id that its log line and its retry have. */
export function rememberCommand(request: FastifyRequest, commandId: string): void {
  commandIds.set(request, commandId);
}

export function commandIdOf(request: FastifyRequest): string | undefined {
  return commandIds.get(request);
}

/** The path of the request, as sent and without its query. */
export function pathOf(request: FastifyRequest): string {
  const url = request.raw.url ?? '/';
  const query = url.indexOf('?');
  return query < 0 ? url : url.slice(0, query);
}

/** Someone will put a token where it does not belong, into a path for instance; what is kept of a request must not hold it. */
export function withoutTokens(text: string): string {
  return text.replaceAll(/chy_[A-Za-z0-9]+_[A-Za-z0-9_-]+/g, 'chy_[redacted]');
}

/**
 * Injects the answer being made, for its headers and status; the return value of the route is still its body. (Nest's own decorator and not
 * one of ours: Fastify's reply is a thenable, and Nest would wait for what a custom decorator returns.)
 */
export const Answer = (): ParameterDecorator => Res({ passthrough: true });

/** Injects the request as Fastify has it, for what no other decorator gives. */
export const Asked = createParamDecorator(
  (_data: unknown, context: ExecutionContext): FastifyRequest => context.switchToHttp().getRequest(),
);

import { createHash, randomUUID } from 'node:crypto';

import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { DomainError } from '#platform/kernel/errors.js';

import { type IfMatch, parseIfMatch } from './entity-tag.js';
import { rawBody } from './json-body.js';
import { flagParameter, parseQuery } from './query-parameters.js';
import { rememberCommand, requireCaller } from './request-context.js';

const MAX_REASON = 1000;

/** What every write may say besides its body. */
export const writeParameters = z.strictObject({
  dryRun: flagParameter.describe('true: answer what would happen, and write nothing.'),
  reason: z.string().max(MAX_REASON).optional().describe('Why; kept in the record.'),
});

const CONFIRM_LEAST_MS = 1_000;
const CONFIRM_MOST_MS = 24 * 3_600_000;

/** `90s`, `5m`, `1h`: as milliseconds, from a second to a day. */
export const durationParameter = z
  .string()
  .regex(/^\d{1,6}(?:ms|s|m|h)$/, { error: 'must be a number with ms, s, m or h, such as 90s or 5m' })
  .transform(durationMs)
  .refine((ms) => ms >= CONFIRM_LEAST_MS && ms <= CONFIRM_MOST_MS, { error: 'must be from 1s to 24h' });

/** What every write of a gateway's configuration may say. */
export const configurationWriteParameters = writeParameters.extend({
  confirmWithin: durationParameter
    .optional()
    .describe('Undo this version by itself unless POST versions/{n}/confirm comes within this time: 90s, 5m, 1h.'),
  overrideRouteTests: flagParameter.describe(
    'true: carry it out although route tests fail by it. Needs a reason; both are kept in the record.',
  ),
});

/** One write as HTTP said it, before it is known which subject it is about. */
export interface WriteRequest {
  readonly context: CommandRequest['context'];
  readonly dryRun: boolean;
  readonly ifMatch: IfMatch | undefined;
  /** If-None-Match: *, only create. */
  readonly createOnly: boolean;
  readonly overrideRouteTests: boolean;
}

/** Injects the write's conditions: If-Match, If-None-Match, Idempotency-Key, dryRun, reason. */
export const Write = createParamDecorator(
  (_data: unknown, context: ExecutionContext): WriteRequest => readWrite(context.switchToHttp().getRequest(), writeParameters),
);

/**
 * As `Write`, for a write of a gateway's configuration, which may ask to be confirmed. `more` are further query parameters of the route, which it
 * reads with `@QueryBy(configurationWriteParameters.extend(...))`.
 */
export const ConfigurationWrite = (more: z.ZodRawShape = {}): ParameterDecorator => {
  const parameters = configurationWriteParameters.extend(more);
  return createParamDecorator(
    (_data: unknown, context: ExecutionContext): WriteRequest => readWrite(context.switchToHttp().getRequest(), parameters),
  )();
};

/** @throws DomainError malformed for a header or parameter that cannot be what it should be. */
function readWrite(request: FastifyRequest, parameters: z.ZodType): WriteRequest {
  const query = parseQuery(parameters, request) as z.infer<typeof configurationWriteParameters>;
  const key = idempotencyKey(request);
  const ifMatch = single(request, 'if-match');
  const commandId = randomUUID();
  rememberCommand(request, commandId);
  return {
    context: {
      commandId,
      actor: requireCaller(request).actor,
      reason: readReason(query.reason ?? single(request, 'chancery-reason')),
      requestId: request.id,
      idempotencyKey: key ?? null,
      fingerprint: key === undefined ? null : fingerprint(request),
      confirmWithinMs: query.confirmWithin ?? null,
    },
    dryRun: query.dryRun ?? false,
    ifMatch: ifMatch === undefined ? undefined : parseIfMatch(ifMatch),
    createOnly: createOnly(single(request, 'if-none-match')),
    overrideRouteTests: query.overrideRouteTests ?? false,
  };
}

/** The same request again has the same fingerprint; another one under the same key is refused (`idempotency_key_reused`). */
function fingerprint(request: FastifyRequest): string {
  const hash = createHash('sha256');
  hash.update(`${request.method} ${request.raw.url ?? ''}\n`);
  hash.update(rawBody(request));
  return hash.digest('hex');
}

function idempotencyKey(request: FastifyRequest): string | undefined {
  const key = single(request, 'idempotency-key');
  if (key === undefined || /^[\x21-\x7e]{8,255}$/.test(key)) return key;
  throw new DomainError('malformed', 'idempotency_key_malformed', 'Idempotency-Key must be 8 to 255 visible ASCII characters.');
}

function createOnly(header: string | undefined): boolean {
  if (header === undefined) return false;
  if (header.trim() === '*') return true;
  throw new DomainError('malformed', 'if_none_match_malformed', 'If-None-Match of a write can only be *: create, never replace.');
}

/** Why something is done, as the record can keep it; null for none. @throws DomainError malformed `reason_malformed`. */
export function readReason(text: string | undefined): string | null {
  if (text === undefined || text === '') return null;
  if (text.length <= MAX_REASON && !/[\p{Cc}\p{Cs}]/u.test(text.replaceAll(/[\t\n]/g, ' '))) return text;
  throw new DomainError(
    'malformed',
    'reason_malformed',
    `The reason must be at most ${MAX_REASON} characters of text without control characters.`,
  );
}

function durationMs(text: string): number {
  const [, amount, unit] = /^(\d+)(ms|s|m|h)$/.exec(text) ?? [];
  return Number(amount) * { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }[unit as 'ms' | 's' | 'm' | 'h'];
}

function single(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}

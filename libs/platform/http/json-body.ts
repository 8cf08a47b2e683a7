import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';

import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';

import { unsupported } from './http-problem.js';
import { parseStrictJson } from './strict-json.js';

/** The most a request's body may be. A mapping is a few hundred bytes; this leaves room for labels and headers, not for floods. */
export const MAX_BODY_BYTES = 256 * 1024;
const jsonTypes = new Set(['application/json', 'application/merge-patch+json']);

/**
 * The request's body as strictly read JSON. It is read here and not by Fastify, because here the guard has already spoken:
 * a stranger learns nothing from the way a body fails.
 */
export const JsonBody = createParamDecorator(
  (_data: unknown, context: ExecutionContext): Json => readJsonBody(context.switchToHttp().getRequest()),
);

/** As `JsonBody`, for a request that says enough without one: no body reads as `{}`. */
export const OptionalJsonBody = createParamDecorator((_data: unknown, context: ExecutionContext): Json => {
  const request: FastifyRequest = context.switchToHttp().getRequest();
  return rawBody(request).length === 0 ? {} : readJsonBody(request);
});

/** The bytes of the body as they came, empty when there is none. */
export function rawBody(request: FastifyRequest): Buffer {
  return Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
}

/** @throws HttpProblem 415 for another media type or a content encoding; DomainError malformed for what is not JSON. */
function readJsonBody(request: FastifyRequest): Json {
  refuseEncoding(request);
  const type = (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  const bytes = rawBody(request);
  if (!jsonTypes.has(type)) {
    if (bytes.length === 0) throw malformed('body_missing', 'This request needs a JSON body.');
    const curl =
      type === 'application/x-www-form-urlencoded' ? " (curl -d says so by itself; add -H 'content-type: application/json')" : '';
    const said = type === '' ? 'none is given' : `${type.slice(0, 100)} is given${curl}`;
    throw unsupported('media_type_unsupported', `The body must be sent with "Content-Type: application/json"; ${said}.`, {
      Accept: 'application/json',
    });
  }
  if (bytes.length === 0) throw malformed('body_missing', 'This request needs a JSON body.');
  return parseStrictJson(decode(bytes));
}

function refuseEncoding(request: FastifyRequest): void {
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    throw unsupported('content_encoding_unsupported', 'The body must be sent without a Content-Encoding.', {
      'Accept-Encoding': 'identity',
    });
  }
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw malformed('body_not_utf8', 'The body is not valid UTF-8.', error);
  }
}

function malformed(code: string, message: string, cause?: unknown): DomainError {
  return new DomainError('malformed', code, message, { errors: [{ pointer: '', code, message }], cause });
}

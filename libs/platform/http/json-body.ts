import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';

import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';

import { HttpProblem, unsupported } from './http-problem.js';
import { type BodyFormat, bodyTooLarge, formatOf, mediaTypeOf } from './large-body.js';
import { parseLongJson, parseStrictJson } from './strict-json.js';
import { readLongYaml } from './yaml-body.js';

/**
 * The request's body as strictly read JSON. It is read here and not by Fastify, because here the guard has already spoken:
 * a stranger learns nothing from the way a body fails.
 */
export const JsonBody = createParamDecorator(
  (_data: unknown, context: ExecutionContext): Json => readJsonBody(context.switchToHttp().getRequest()),
);

/** As `JsonBody`, of at most so many bytes. */
export const SmallJsonBody = createParamDecorator((mostBytes: number, context: ExecutionContext): Json => {
  const request: FastifyRequest = context.switchToHttp().getRequest();
  if (rawBody(request).length > mostBytes) throw bodyTooLarge(mostBytes);
  return readJsonBody(request);
});

/** As `JsonBody`, for a request that says enough without one: no body reads as `{}`. */
export const OptionalJsonBody = createParamDecorator((_data: unknown, context: ExecutionContext): Json => {
  const request: FastifyRequest = context.switchToHttp().getRequest();
  return rawBody(request).length === 0 ? {} : readJsonBody(request);
});

/** As `JsonBody`, on a route of `@LargeBody()`. */
export const LargeJsonBody = createParamDecorator((_data: unknown, context: ExecutionContext): Promise<Json> => {
  const request: FastifyRequest = context.switchToHttp().getRequest();
  checkBody(request, ['json']);
  return parseLongJson(decode(rawBody(request)));
});

/** As `LargeJsonBody`, which may be YAML as well: the Content-Type says which. */
export const JsonOrYamlBody = createParamDecorator(async (_data: unknown, context: ExecutionContext): Promise<Json> => {
  const request: FastifyRequest = context.switchToHttp().getRequest();
  const format = checkBody(request, ['json', 'yaml']);
  const text = decode(rawBody(request));
  return format === 'json' ? parseLongJson(text) : readLongYaml(text);
});

/** The bytes of the body as they came, empty when there is none. */
export function rawBody(request: FastifyRequest): Buffer {
  return Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
}

/** @throws HttpProblem 415 for another media type or a content encoding; DomainError malformed for what is not JSON. */
function readJsonBody(request: FastifyRequest): Json {
  checkBody(request, ['json']);
  return parseStrictJson(decode(rawBody(request)));
}

/** Which of the formats the body is said to be. @throws HttpProblem 415, 413 when it was larger than the caller may send; DomainError malformed `body_missing`. */
function checkBody(request: FastifyRequest, formats: readonly BodyFormat[]): BodyFormat {
  if (request.body instanceof HttpProblem) throw request.body;
  refuseEncoding(request);
  const type = mediaTypeOf(request);
  const format = formatOf(type);
  const bytes = rawBody(request);
  if (bytes.length === 0 && (format === undefined || formats.includes(format))) {
    throw malformed('body_missing', `This request needs a ${formats.includes('yaml') ? 'JSON or YAML' : 'JSON'} body.`);
  }
  if (format !== undefined && formats.includes(format)) return format;
  const curl = type === 'application/x-www-form-urlencoded' ? " (curl -d says so by itself; add -H 'content-type: application/json')" : '';
  const said = type === '' ? 'none is given' : `${type.slice(0, 100)} is given${curl}`;
  const taken = formats.map((one) => `application/${one}`);
  throw unsupported('media_type_unsupported', `The body must be sent with "Content-Type: ${taken.join('" or "')}"; ${said}.`, {
    Accept: taken.join(', '),
  });
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

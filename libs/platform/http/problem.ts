import { HttpException } from '@nestjs/common';

import { DomainError, type ErrorKind, type FieldError } from '#platform/kernel/errors.js';

import { isDatabaseUnavailable } from './database-fault.js';
import { type AnswerHeaders, HttpProblem } from './http-problem.js';

/** The one place where a kind of refusal gets its status. */
const statusOf: Readonly<Record<ErrorKind, number>> = {
  malformed: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  gone: 410,
  stale: 412,
  too_large: 413,
  invalid: 422,
  precondition_required: 428,
  too_many: 429,
  unavailable: 503,
};

const titles: Readonly<Record<number, string>> = {
  400: 'Malformed request',
  401: 'Not authenticated',
  403: 'Not allowed',
  404: 'Not found',
  405: 'Method not allowed',
  406: 'Not acceptable',
  408: 'Request took too long to arrive',
  409: 'Conflict',
  410: 'Gone',
  412: 'Precondition failed',
  413: 'Too large',
  414: 'URL too long',
  415: 'Media type not supported',
  422: 'Invalid',
  428: 'Precondition required',
  429: 'Too many attempts',
  431: 'Header fields too large',
  500: 'Internal error',
  503: 'Unavailable',
};

/** An answer that says no: RFC 9457, with our members `code`, `errors` and `requestId` (and what the refusal itself adds). */
export interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  readonly errors: readonly FieldError[];
  readonly extra: Readonly<Record<string, unknown>>;
  readonly headers: AnswerHeaders;
  /** True when the cause is a defect of ours: it is logged, and the answer says nothing of it. */
  readonly unexpected: boolean;
}

/** What an error means to the one who asked. Internals of an unknown error never get past here. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof DomainError) {
    const status = statusOf[error.kind];
    const headers = retryAfter(status, error.extra);
    return refusal(status, error.code, error.message, { errors: error.errors, extra: error.extra, headers });
  }
  if (error instanceof HttpProblem)
    return refusal(error.status, error.code, error.message, { errors: error.errors, headers: error.headers });
  if (isDatabaseUnavailable(error)) {
    return refusal(503, 'database_unavailable', 'The database cannot be reached. Try again in a moment.', {
      headers: { 'Retry-After': '1' },
    });
  }
  if (error instanceof HttpException && error.getStatus() === 404)
    return refusal(404, 'route_unknown', 'There is nothing at this address; /docs lists what there is.');
  if (error instanceof HttpException && error.getStatus() < 500) {
    return refusal(error.getStatus(), 'request_refused', 'The request cannot be served as it is.');
  }
  return { ...refusal(500, 'internal', 'Something went wrong on our side. The request id finds it in the log.'), unexpected: true };
}

function refusal(
  status: number,
  code: string,
  detail: string,
  more: { errors?: readonly FieldError[]; extra?: Readonly<Record<string, unknown>>; headers?: AnswerHeaders } = {},
): Refusal {
  return {
    status,
    code,
    title: titles[status] ?? 'Refused',
    detail,
    errors: more.errors ?? [],
    extra: more.extra ?? {},
    headers: more.headers ?? {},
    unexpected: false,
  };
}

function retryAfter(status: number, extra: Readonly<Record<string, unknown>>): AnswerHeaders {
  if (status !== 429 && status !== 503) return {};
  const seconds = typeof extra.retryAfterS === 'number' ? extra.retryAfterS : 1;
  return { 'Retry-After': String(seconds) };
}

/** The body of the answer. `instance` is the path that was asked for. */
export function problemDocument(refused: Refusal, instance: string, requestId: string): Record<string, unknown> {
  return {
    ...refused.extra,
    type: `urn:chancery:problem:${refused.code}`,
    title: refused.title,
    status: refused.status,
    detail: refused.detail,
    instance,
    code: refused.code,
    ...(refused.errors.length > 0 ? { errors: refused.errors } : {}),
    requestId,
  };
}

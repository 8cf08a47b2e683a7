/**
 * What went wrong, in the terms of the one who must act on it. Each kind has one HTTP status (libs/platform/http):
 * malformed 400, unauthenticated 401, forbidden 403, not_found 404, conflict 409, gone 410, stale 412, too_large 413,
 * invalid 422, precondition_required 428, too_many 429, unavailable 503.
 */
export type ErrorKind =
  | 'malformed'
  | 'unauthenticated'
  | 'forbidden'
  | 'not_found'
  | 'conflict'
  | 'gone'
  | 'stale'
  | 'too_large'
  | 'invalid'
  | 'precondition_required'
  | 'too_many'
  | 'unavailable';

/** One fault of one field. `pointer` is an RFC 6901 JSON pointer into the request's body ('' for the whole). */
export interface FieldError {
  readonly pointer: string;
  readonly code: string;
  readonly message: string;
}

/** An error that its receiver can act on. Anything else that is thrown is a defect of ours (500). */
export class DomainError extends Error {
  readonly kind: ErrorKind;
  /** Stable, snake_case, part of the API. */
  readonly code: string;
  readonly errors: readonly FieldError[];
  /** Extra members of the problem document (for instance `commandId`, `currentVersion`). Never secrets. */
  readonly extra: Readonly<Record<string, unknown>>;

  constructor(
    kind: ErrorKind,
    code: string,
    message: string,
    options: { errors?: readonly FieldError[]; extra?: Readonly<Record<string, unknown>>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'DomainError';
    this.kind = kind;
    this.code = code;
    this.errors = options.errors ?? [];
    this.extra = options.extra ?? {};
  }
}

/** The end of every switch over a union: the compiler refuses a case that was forgotten. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`);
}

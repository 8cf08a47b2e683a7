import type { FieldError } from '#platform/kernel/errors.js';

/** A refusal that only HTTP knows (405, 415, ...). Everything else that may be refused is a DomainError. */
/** 415, in one form wherever it is found out: what came, and what is taken. */
export function unsupported(code: string, message: string, headers: Record<string, string>): HttpProblem {
  return new HttpProblem(415, code, message, { headers, errors: [{ pointer: '', code, message }] });
}

export class HttpProblem extends Error {
  readonly status: number;
  /** Stable, snake_case, part of the API. */
  readonly code: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly errors: readonly FieldError[];

  constructor(
    status: number,
    code: string,
    message: string,
    options: { headers?: Record<string, string>; errors?: readonly FieldError[] } = {},
  ) {
    super(message);
    this.name = 'HttpProblem';
    this.status = status;
    this.code = code;
    this.headers = options.headers ?? {};
    this.errors = options.errors ?? [];
  }
}

import type { FieldError } from '#platform/kernel/errors.js';

/** Headers of an answer; a list is one line each. */
export type AnswerHeaders = Readonly<Record<string, string | string[]>>;

/** A refusal that only HTTP knows (405, 415, ...). Everything else that may be refused is a DomainError. */
export class HttpProblem extends Error {
  readonly status: number;
  /** Stable, snake_case, part of the API. */
  readonly code: string;
  readonly headers: AnswerHeaders;
  readonly errors: readonly FieldError[];

  constructor(status: number, code: string, message: string, options: { headers?: AnswerHeaders; errors?: readonly FieldError[] } = {}) {
    super(message);
    this.name = 'HttpProblem';
    this.status = status;
    this.code = code;
    this.headers = options.headers ?? {};
    this.errors = options.errors ?? [];
  }
}

/** 415, in one form wherever it is found out; the headers say what is taken instead. */
export function unsupported(code: string, message: string, headers: AnswerHeaders): HttpProblem {
  return new HttpProblem(415, code, message, { headers, errors: [{ pointer: '', code, message }] });
}

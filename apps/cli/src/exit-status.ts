import { DomainError, type ErrorKind } from '#platform/kernel/errors.js';

import { UsageError } from './usage-error.js';

/** What the command `chancery` ends with. Scripts rely on these numbers; docs/cli.md lists them. */
export const exitStatus = {
  /** Done, or no difference. */
  done: 0,
  /** There is a difference, and `--exit-code` asked. */
  difference: 1,
  /** It could not be done, or what was verified is not right. */
  failed: 1,
  /** Wrong usage, or an input that the API calls invalid. */
  usage: 2,
  timeout: 3,
  /** A target (an Envoy) refused the version. */
  refused: 4,
  /** Something changed meanwhile (412), or what exists contradicts it (409). */
  changed: 5,
  /** Not authenticated or not allowed. */
  access: 6,
} as const;

/** An expected failure: what is wrong, what to do next, and what the process ends with. It is printed without a trace. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';

  constructor(
    message: string,
    readonly status: number,
    readonly nextStep?: string,
    options: { cause?: unknown } = {},
  ) {
    super(message, options);
  }
}

/** The exit status for a refusal of the API. */
export function exitStatusOfHttp(status: number): number {
  if (status === 401 || status === 403) return exitStatus.access;
  if (status === 409 || status === 412) return exitStatus.changed;
  if ([400, 405, 413, 414, 415, 422, 428, 431].includes(status)) return exitStatus.usage;
  if (status === 408 || status === 504) return exitStatus.timeout;
  return exitStatus.failed;
}

/** The same for the commands that work on the database, where a refusal has no HTTP status. */
const exitStatusOfKind: Readonly<Partial<Record<ErrorKind, number>>> = {
  malformed: exitStatus.usage,
  invalid: exitStatus.usage,
  too_large: exitStatus.usage,
  precondition_required: exitStatus.usage,
  conflict: exitStatus.changed,
  stale: exitStatus.changed,
  unauthenticated: exitStatus.access,
  forbidden: exitStatus.access,
};

/** What an error that ended a command means to whoever started it. */
export function exitStatusOfError(error: unknown): number {
  if (error instanceof CommandFailure) return error.status;
  if (error instanceof UsageError) return exitStatus.usage;
  if (error instanceof DomainError) return exitStatusOfKind[error.kind] ?? exitStatus.failed;
  return exitStatus.failed;
}

import type { GrpcCall } from '#platform/grpc/grpc-call.js';
import { Status, type StatusCode } from '#platform/grpc/status.js';
import { DomainError, type ErrorKind } from '#platform/kernel/errors.js';

const kindToStatus: Partial<Record<ErrorKind, StatusCode>> = {
  malformed: Status.INVALID_ARGUMENT,
  invalid: Status.INVALID_ARGUMENT,
  unauthenticated: Status.UNAUTHENTICATED,
  forbidden: Status.PERMISSION_DENIED,
  not_found: Status.NOT_FOUND,
  unavailable: Status.UNAVAILABLE,
};

/** Ends a call with what went wrong: a DomainError says it to the caller, anything else is ours to know. */
export function endWith(call: Pick<GrpcCall<never>, 'end'>, error: unknown): void {
  if (error instanceof DomainError) call.end(kindToStatus[error.kind] ?? Status.FAILED_PRECONDITION, `${error.code}: ${error.message}`);
  else call.end(Status.INTERNAL, 'internal error');
}

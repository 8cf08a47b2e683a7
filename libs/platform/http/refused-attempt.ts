import type { FastifyRequest } from 'fastify';

import type { Refusal } from './problem.js';
import { type Caller, callerOf, commandIdOf } from './request-context.js';

/** A request that was refused, as much of it as may be kept: never its body, and of what is wrong only where. */
export interface RefusedAttempt {
  /** Undefined for somebody whose token is missing, wrong or revoked. */
  readonly caller: Caller | undefined;
  /** Where it came from. */
  readonly address: string;
  readonly method: string;
  /** The template: `/v1/gateways/:gateway/mappings/:mapping`. */
  readonly route: string;
  /** What stood in the path for the template's parameters, decoded and otherwise as it came. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly status: number;
  readonly code: string;
  /** JSON pointers into the body or the query. */
  readonly pointers: readonly string[];
  readonly requestId: string;
  /** The id of the command that was refused; null for a read, and for one that was refused before it was read. */
  readonly commandId: string | null;
  readonly dryRun: boolean;
}

/** Keeps refusals. The exception filter waits for it before it answers: what cannot be recorded is not answered as a refusal. */
export interface AttemptRecorder {
  /** @throws whatever kept it from being recorded. */
  record(attempt: RefusedAttempt): Promise<void>;
}

/** What the trail speaks of. A malformed request (400) and an address that leads nowhere (404) are a program's mistakes: the request's line in the log is enough. */
const recordedStatuses: ReadonlySet<number> = new Set([401, 403, 409, 412, 422, 428, 429]);

/** The attempt that a refusal ends; undefined for one that is not kept. */
export function refusedAttempt(request: FastifyRequest, refused: Refusal): RefusedAttempt | undefined {
  if (!recordedStatuses.has(refused.status)) return undefined;
  const { dryRun } = (request.query ?? {}) as Readonly<Record<string, unknown>>;
  return {
    caller: callerOf(request),
    address: request.ip,
    method: request.method,
    route: request.routeOptions.url ?? '',
    parameters: (request.params ?? {}) as Readonly<Record<string, string>>,
    status: refused.status,
    code: refused.code,
    pointers: refused.errors.map(({ pointer }) => pointer),
    requestId: request.id,
    commandId: commandIdOf(request) ?? null,
    dryRun: dryRun !== undefined && dryRun !== 'false' && dryRun !== '0',
  };
}

import { type Connection, isThisMachine } from './connection.js';
import { CommandFailure, exitStatus } from './exit-status.js';

/**
 * How a request failed without an answer. `unreachable`: it never got there, so nothing happened. `lost`: the connection broke, and what became of the
 * request is not known. `timeout`: no answer in time, and as for `lost`.
 */
export interface TransportFault {
  readonly kind: 'unreachable' | 'lost' | 'timeout';
  readonly code: string;
  readonly message: string;
}

const beforeAnythingWasSent = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** Reads what fetch threw: its cause says what happened. */
export function transportFault(error: unknown): TransportFault {
  const { name } = error as { name?: unknown };
  if (name === 'TimeoutError' || name === 'AbortError') return { kind: 'timeout', code: '', message: '' };
  const { code: said, message } = innermost(error as Caused);
  const code = typeof said === 'string' ? said : '';
  const untrusted = /CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS|ERR_SSL|EPROTO/.test(code);
  return { kind: untrusted || beforeAnythingWasSent.has(code) ? 'unreachable' : 'lost', code, message: message ?? String(error) };
}

interface Caused {
  readonly message?: string;
  readonly code?: unknown;
  readonly cause?: Caused;
  /** Of an AggregateError: one for each address of a name. */
  readonly errors?: readonly Caused[];
}

function innermost(error: Caused): Caused {
  const inner = error.errors?.[0] ?? error.cause;
  return typeof inner === 'object' && inner !== null ? innermost(inner) : error;
}

export function unreachable(connection: Connection, { code, message }: TransportFault, url: string): CommandFailure {
  const { urlSource } = connection;
  const address = new URL(url).origin;
  if (code === 'ECONNREFUSED') {
    const start = isThisMachine(url) ? 'bin/dev starts Chancery on this machine. ' : 'Is the API running there? ';
    return new CommandFailure(
      `Nothing listens at ${address} (connection refused).`,
      exitStatus.failed,
      `${start}The address came from ${urlSource}; --api or CHANCERY_API name another.`,
    );
  }
  const tls = /CERT|SELF_SIGNED|UNABLE_TO/.test(code) ? 'NODE_EXTRA_CA_CERTS names a file with the authority to trust. ' : '';
  return new CommandFailure(
    `${address} cannot be reached: ${message}${message.includes(code) ? '' : ` (${code})`}.`,
    exitStatus.failed,
    `${tls}The address came from ${urlSource}; --api or CHANCERY_API name another.`,
  );
}

export function lostConnection(method: string, { url }: Connection, { message, code }: TransportFault): CommandFailure {
  return new CommandFailure(`The connection to ${url} was lost, twice (${code || message}).`, exitStatus.failed, afterwards(method));
}

export function outOfTime(method: string, { url }: Connection, timeoutMs: number): CommandFailure {
  return new CommandFailure(
    `No answer from ${url} within ${timeoutMs / 1000} s.`,
    exitStatus.timeout,
    `${afterwards(method)} --request-timeout gives it longer.`,
  );
}

function afterwards(method: string): string {
  if (method === 'GET') return 'Give the command again in a moment.';
  return 'Whether it was carried out is not known: chancery history tells, before you give the command again.';
}

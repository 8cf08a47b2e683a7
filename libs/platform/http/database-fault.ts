import { types } from 'node:util';

/** SQLSTATE classes and codes that say "not now", not "never": connection trouble, shutdown, too many clients, a statement that was cut off. */
const sqlStates = /^(08...|53[0-9A-Z]{3}|57P0[1-4]|57014|25006)$/;
const socketCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENOENT',
]);
/** pg and its pool say these without any code. */
const driverMessages =
  /connection terminated|timeout exceeded when trying to connect|client was closed|connection error|cannot use a pool after calling end/i;

/** True when an error only says that Postgres cannot be reached at the moment, so that the caller may try again. */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (!types.isNativeError(error)) return false;
  const { code, syscall, errors } = error as { code?: unknown; syscall?: unknown; errors?: unknown };
  if (Array.isArray(errors)) return errors.some(isDatabaseUnavailable); // one per address that was tried
  if (typeof code === 'string') {
    if (socketCodes.has(code)) return syscall !== 'open' && syscall !== 'stat';
    return sqlStates.test(code);
  }
  if (driverMessages.test(error.message)) return true;
  return error.cause !== undefined && isDatabaseUnavailable(error.cause);
}

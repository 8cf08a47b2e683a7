import { pino } from 'pino';

export type Log = pino.Logger;

/**
 * The process' log: JSON lines on stderr (stdout is for the lines that other programs read). Written synchronously, because the
 * last lines before a crash are the ones that are needed.
 *
 * Errors go as `log.error({ err }, 'message')`. What a secret type would hide is hidden here too: headers and fields of these
 * names never reach the log, however they got into an object.
 */
export function createLog(options: {
  readonly process: string;
  readonly level: string;
  readonly destination?: pino.DestinationStream;
}): Log {
  return pino(
    {
      level: options.level,
      base: { process: options.process, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: secretPaths, censor: '[redacted]' },
    },
    options.destination ?? pino.destination({ fd: 2, sync: true }),
  );
}

const secretNames = ['authorization', 'cookie', 'token', 'secret', 'password', 'privateKey'];
const secretPaths = secretNames.flatMap((name) => [name, `*.${name}`, `headers.${name}`, `*.headers.${name}`]);

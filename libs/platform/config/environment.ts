import { z } from 'zod';

export type Environment = Readonly<Record<string, string | undefined>>;

/** A variable of the environment that cannot be used. The process prints the message and does not start. */
export class ConfigError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(`The environment cannot be used:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
    this.name = 'ConfigError';
  }
}

/**
 * Reads the variables that `schema` names, and no others. An empty variable counts as unset, because shells and manifests
 * cannot always leave one out.
 * @throws ConfigError naming every variable that is wrong, with what would be right. Values are never repeated: some are secrets.
 */
export function readEnvironment<S extends z.ZodObject>(schema: S, env: Environment): z.infer<S> {
  const named = Object.fromEntries(Object.keys(schema.shape).map((name) => [name, env[name] === '' ? undefined : env[name]]));
  const result = schema.safeParse(named);
  if (result.success) return result.data;
  throw new ConfigError(result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`));
}

/** Where to listen. `host` is an address or a name, without brackets; port 0 lets the system choose. */
export interface Listen {
  readonly host: string;
  readonly port: number;
}

/** `127.0.0.1:8888`, `[::1]:8888`, `:8888` (loopback) or a bare port (loopback). */
export const listenVariable = z.string().transform((text, context): Listen => {
  const match = /^(?:(?:\[([0-9A-Fa-f:.]+)\]|([^\s:[\]/]+))?:)?(\d{1,5})$/.exec(text.trim());
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    context.addIssue({ code: 'custom', message: 'must be host:port, for instance 127.0.0.1:8888 or [::1]:8888' });
    return z.NEVER;
  }
  return { host: match[1] ?? match[2] ?? '127.0.0.1', port };
});

/** 1, true, yes, on; 0, false, no, off. */
export const flagVariable = z.string().transform((text, context): boolean => {
  const word = text.trim().toLowerCase();
  if (['1', 'true', 'yes', 'on'].includes(word)) return true;
  if (['0', 'false', 'no', 'off'].includes(word)) return false;
  context.addIssue({ code: 'custom', message: 'must be true or false' });
  return z.NEVER;
});

/** A URL of one of the given schemes. */
export function urlVariable(...schemes: readonly string[]) {
  return z.string().refine((text) => URL.canParse(text) && schemes.includes(new URL(text).protocol.slice(0, -1)), {
    message: `must be a URL that starts with ${schemes.map((scheme) => `${scheme}://`).join(' or ')}`,
  });
}

export const databaseUrlVariable = urlVariable('postgresql', 'postgres');

export const logLevelVariable = z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], {
  error: 'must be one of fatal, error, warn, info, debug, trace, silent',
});

/** What every process of the house reads. */
export const processVariables = {
  CHANCERY_LOG_LEVEL: logLevelVariable.default('info'),
  CHANCERY_FAILPOINT_DIR: z.string().optional(),
};

/** The message for a variable that has no default. */
export function required(schema: z.ZodString, hint: string) {
  return z.string({ error: `is not set: ${hint}` }).pipe(schema);
}

/** True for an address or name that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

import { z } from 'zod';

import { databaseUrlVariable, type Environment, logLevelVariable, readEnvironment, urlVariable } from './environment.js';

export interface CliConfig {
  /** As the application role; what `token create` needs, and nothing else does. */
  readonly databaseUrl: string | undefined;
  /** As the owner role; migrations. */
  readonly ownerDatabaseUrl: string | undefined;
  /** The address of the API; undefined: the one that `login` stored, or this machine's. */
  readonly apiUrl: string | undefined;
  readonly token: string | undefined;
  /** A file that holds the token, for instance DIR/token of `bin/dev`. */
  readonly tokenFile: string | undefined;
  /** NO_COLOR, as no-color.org has it: any value. */
  readonly noColor: boolean;
  /** FORCE_COLOR: any value but 0 and false. */
  readonly forceColor: boolean;
  /** Where `login` keeps its file, below `chancery/`; undefined: .config in the user's home. */
  readonly configHome: string | undefined;
  /** The file with the keys that private keys are kept under; what `keys` works on. */
  readonly kekFile: string | undefined;
  readonly failpointDir: string | undefined;
  readonly logLevel: string;
}

const variables = z.object({
  DATABASE_URL: databaseUrlVariable.optional(),
  CHANCERY_OWNER_DATABASE_URL: databaseUrlVariable.optional(),
  CHANCERY_API: urlVariable('http', 'https').optional(),
  CHANCERY_TOKEN: z.string().optional(),
  CHANCERY_TOKEN_FILE: z.string().optional(),
  NO_COLOR: z.string().optional(),
  FORCE_COLOR: z.string().optional(),
  XDG_CONFIG_HOME: z.string().startsWith('/', 'must be an absolute path').optional(),
  CHANCERY_KEK_FILE: z.string().optional(),
  CHANCERY_FAILPOINT_DIR: z.string().optional(),
  CHANCERY_LOG_LEVEL: logLevelVariable.default('warn'),
});

/**
 * The configuration of the command `chancery`.
 * @throws ConfigError when a variable is unusable.
 */
export function readCliConfig(env: Environment = process.env): CliConfig {
  const read = readEnvironment(variables, env);
  return Object.freeze({
    databaseUrl: read.DATABASE_URL,
    ownerDatabaseUrl: read.CHANCERY_OWNER_DATABASE_URL,
    apiUrl: read.CHANCERY_API,
    token: read.CHANCERY_TOKEN,
    tokenFile: read.CHANCERY_TOKEN_FILE,
    noColor: read.NO_COLOR !== undefined,
    forceColor: read.FORCE_COLOR !== undefined && !['0', 'false'].includes(read.FORCE_COLOR),
    configHome: read.XDG_CONFIG_HOME,
    kekFile: read.CHANCERY_KEK_FILE,
    failpointDir: read.CHANCERY_FAILPOINT_DIR,
    logLevel: read.CHANCERY_LOG_LEVEL,
  });
}

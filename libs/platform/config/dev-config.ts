import { z } from 'zod';

import { databaseUrlVariable, type Environment, readEnvironment, urlVariable } from './environment.js';

export interface DevConfig {
  /** A Postgres of the user's own, as the application role; undefined starts the embedded one. */
  readonly databaseUrl: string | undefined;
  /** The same as the role that owns the tables; without it `databaseUrl` is taken for both. */
  readonly ownerDatabaseUrl: string | undefined;
  readonly envoyPath: string | undefined;
  readonly searchPath: string | undefined;
  /** NO_COLOR, as no-color.org has it: any value. */
  readonly noColor: boolean;
  /** What the processes inherit. The supervisor adds what it decides; variables that would contradict it are left out. */
  readonly inherited: Readonly<Record<string, string>>;
}

const variables = z.object({
  DATABASE_URL: databaseUrlVariable.optional(),
  CHANCERY_OWNER_DATABASE_URL: databaseUrlVariable.optional(),
  REDIS_URL: urlVariable('redis', 'rediss').optional(),
  ENVOY_PATH: z.string().optional(),
  PATH: z.string().optional(),
  NO_COLOR: z.string().optional(),
});

/** The supervisor's children speak plain HTTP on loopback and get their database and token from it. */
const contradicting = /^(CHANCERY_API_TLS_|CHANCERY_API_ALLOW_REMOTE$|CHANCERY_AGENT_TOKEN$|CHANCERY_OWNER_DATABASE_URL$|NODE_OPTIONS$)/;

/**
 * The configuration of `bin/dev`.
 * @throws ConfigError when a variable is unusable.
 */
export function readDevConfig(env: Environment = process.env): DevConfig {
  const read = readEnvironment(variables, env);
  const inherited = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !contradicting.test(entry[0]),
  );
  return Object.freeze({
    databaseUrl: read.DATABASE_URL,
    ownerDatabaseUrl: read.CHANCERY_OWNER_DATABASE_URL ?? read.DATABASE_URL,
    envoyPath: read.ENVOY_PATH,
    searchPath: read.PATH,
    noColor: read.NO_COLOR !== undefined,
    inherited: Object.freeze(Object.fromEntries(inherited)),
  });
}

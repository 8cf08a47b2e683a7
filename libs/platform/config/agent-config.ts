import { readFileSync } from 'node:fs';
import { z } from 'zod';

import { ConfigError, type Environment, type Listen, listenVariable, processVariables, readEnvironment, required } from './environment.js';

export interface AgentConfig {
  /** The name of this Envoy in the control plane. */
  readonly target: string;
  readonly gateway: string;
  /** `host:port` of a worker. */
  readonly worker: string;
  readonly token: string;
  /** PEM files for the line to the worker, read at each connection; undefined: in the clear. */
  readonly tls: { readonly ca: string; readonly cert: string | undefined; readonly key: string | undefined } | undefined;
  /** The node's folder: everything that this Envoy needs to start without the control plane. */
  readonly dataDir: string;
  /** Where Envoy listens; port 0 is refused, because a restart must find the same one. */
  readonly http: Listen;
  readonly https: Listen | undefined;
  /** Envoy's worker threads, constant over hot restarts. */
  readonly concurrency: number;
  /** What becomes of Envoy when the agent is asked to end. */
  readonly envoyOnExit: 'keep' | 'stop';
  /** How long clients have to finish when Envoy is ended together with the agent. */
  readonly exitGraceMs: number;
  readonly envoyPath: string | undefined;
  /** What forks Envoy where there is no shell (deploy/launcher). */
  readonly launcher: string | undefined;
  readonly searchPath: string | undefined;
  /** Where a downloaded Envoy is kept. */
  readonly cacheDir: string | undefined;
  readonly logLevel: string;
  readonly failpointDir: string | undefined;
}

const name = z
  .string()
  .regex(
    /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/,
    'must be 1 to 63 lower-case letters, digits, dots and dashes, and begin and end with a letter or digit',
  );

const openListenVariable = listenVariable.refine(
  ({ port }) => port > 0,
  'must name a port: the next Envoy must listen where this one does',
);

const variables = z.object({
  ...processVariables,
  CHANCERY_AGENT_TARGET: name.default('local'),
  CHANCERY_AGENT_GATEWAY: name.default('default'),
  CHANCERY_AGENT_WORKER: z
    .string()
    .regex(/^\S+:\d{1,5}$/, 'must be host:port of a worker')
    .default('127.0.0.1:18000'),
  CHANCERY_AGENT_TOKEN: z.string().optional(),
  CHANCERY_AGENT_TOKEN_FILE: z.string().optional(),
  CHANCERY_AGENT_TLS_CA: z.string().optional(),
  CHANCERY_AGENT_TLS_CERT: z.string().optional(),
  CHANCERY_AGENT_TLS_KEY: z.string().optional(),
  CHANCERY_AGENT_DATA: required(z.string(), "the node's folder, for instance /var/lib/chancery-agent"),
  CHANCERY_AGENT_HTTP_LISTEN: openListenVariable.default({ host: '127.0.0.1', port: 8080 }),
  CHANCERY_AGENT_HTTPS_LISTEN: openListenVariable.optional(),
  CHANCERY_AGENT_CONCURRENCY: z.coerce.number().int().min(1).max(256).default(2),
  CHANCERY_AGENT_ENVOY_ON_EXIT: z.enum(['keep', 'stop'], { error: 'must be keep or stop' }).default('keep'),
  CHANCERY_AGENT_EXIT_GRACE_S: z.coerce.number().min(0).max(3600).default(1.5),
  CHANCERY_AGENT_LAUNCHER: z.string().optional(),
  CHANCERY_CACHE: z.string().optional(),
  ENVOY_PATH: z.string().optional(),
  PATH: z.string().optional(),
});

/**
 * The configuration of apps/agent. `argv` (the words behind the script) may hold `--envoy-on-exit=keep|stop`, which wins over the variable.
 * @throws ConfigError when a variable or word is unusable, or there is no token.
 */
export function readAgentConfig(env: Environment = process.env, argv: readonly string[] = process.argv.slice(2)): AgentConfig {
  const read = readEnvironment(variables, env);
  return Object.freeze({
    target: read.CHANCERY_AGENT_TARGET,
    gateway: read.CHANCERY_AGENT_GATEWAY,
    worker: read.CHANCERY_AGENT_WORKER,
    token: readToken(read.CHANCERY_AGENT_TOKEN, read.CHANCERY_AGENT_TOKEN_FILE),
    tls: readTls(read.CHANCERY_AGENT_TLS_CA, read.CHANCERY_AGENT_TLS_CERT, read.CHANCERY_AGENT_TLS_KEY),
    dataDir: read.CHANCERY_AGENT_DATA,
    http: read.CHANCERY_AGENT_HTTP_LISTEN,
    https: read.CHANCERY_AGENT_HTTPS_LISTEN,
    concurrency: read.CHANCERY_AGENT_CONCURRENCY,
    envoyOnExit: readWords(argv) ?? read.CHANCERY_AGENT_ENVOY_ON_EXIT,
    exitGraceMs: read.CHANCERY_AGENT_EXIT_GRACE_S * 1000,
    envoyPath: read.ENVOY_PATH,
    launcher: read.CHANCERY_AGENT_LAUNCHER,
    searchPath: read.PATH,
    cacheDir: read.CHANCERY_CACHE,
    logLevel: read.CHANCERY_LOG_LEVEL,
    failpointDir: read.CHANCERY_FAILPOINT_DIR,
  });
}

function readToken(token: string | undefined, file: string | undefined): string {
  if (token !== undefined) return token;
  if (file === undefined)
    throw new ConfigError(['CHANCERY_AGENT_TOKEN: is not set: a token with the scope agent, or its file in CHANCERY_AGENT_TOKEN_FILE']);
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    throw new ConfigError([`CHANCERY_AGENT_TOKEN_FILE: cannot be read: ${(error as Error).message}`]);
  }
}

function readTls(ca: string | undefined, cert: string | undefined, key: string | undefined): AgentConfig['tls'] {
  if ((cert === undefined) !== (key === undefined))
    throw new ConfigError(['CHANCERY_AGENT_TLS_CERT, CHANCERY_AGENT_TLS_KEY: one is set without the other']);
  if (ca !== undefined) return { ca, cert, key };
  if (cert !== undefined)
    throw new ConfigError(['CHANCERY_AGENT_TLS_CA: is not set: the file with the certificate that a worker must be known by']);
  return undefined;
}

function readWords(argv: readonly string[]): 'keep' | 'stop' | undefined {
  let chosen: 'keep' | 'stop' | undefined;
  for (const word of argv) {
    const value = /^--envoy-on-exit=(keep|stop)$/.exec(word)?.[1];
    if (value === undefined) throw new ConfigError([`${word}: is not known; there is --envoy-on-exit=keep|stop`]);
    chosen = value as 'keep' | 'stop';
  }
  return chosen;
}

import { z } from 'zod';

import {
  ConfigError,
  databaseUrlVariable,
  type Environment,
  flagVariable,
  isLoopback,
  type Listen,
  listenVariable,
  processVariables,
  readEnvironment,
  required,
  urlVariable,
} from './environment.js';

export interface ApiConfig {
  /** As the application role. */
  readonly databaseUrl: string;
  readonly listen: Listen;
  /** Certificate and key of the admin port, as files; undefined is plain HTTP. */
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  /** True answers every /ambassador/* failure with status 200, as the first Ambassador did. */
  readonly ambassadorStatus200: boolean;
  /** The setting `allowLoopbackUpstreams` that a gateway gets when this process creates it. */
  readonly allowLoopbackUpstreams: boolean;
  /** Ports of the product and its stores on this machine, as far as this process is told of them: no mapping may point at one. */
  readonly ownPorts: readonly number[];
  /** Where the anchors of the log are kept outside the database, for its verification; undefined: nowhere. */
  readonly anchors: { readonly file: string; readonly publicKeyFile: string } | undefined;
  /** The file with the keys that private keys are kept under; undefined: none can be kept. */
  readonly kekFile: string | undefined;
  readonly logLevel: string;
  readonly failpointDir: string | undefined;
}

const variables = z.object({
  ...processVariables,
  DATABASE_URL: required(databaseUrlVariable, 'where Postgres is, for instance postgresql://chancery_app@127.0.0.1:5432/chancery'),
  CHANCERY_WORKER_LISTEN: listenVariable.default({ host: '127.0.0.1', port: 18_000 }),
  REDIS_URL: urlVariable('redis', 'rediss').optional(),
  CHANCERY_API_LISTEN: listenVariable.default({ host: '127.0.0.1', port: 8888 }),
  CHANCERY_API_ALLOW_REMOTE: flagVariable.default(false),
  CHANCERY_API_TLS_CERT_FILE: z.string().optional(),
  CHANCERY_API_TLS_KEY_FILE: z.string().optional(),
  CHANCERY_AMBASSADOR_STATUS: z.enum(['200', 'proper'], { error: 'must be 200 or proper' }).default('proper'),
  CHANCERY_ALLOW_LOOPBACK_UPSTREAMS: flagVariable.default(false),
  CHANCERY_KEK_FILE: z.string().optional(),
  CHANCERY_ANCHOR_FILE: z.string().optional(),
  CHANCERY_ANCHOR_PUBLIC_KEY_FILE: z.string().optional(),
});

/**
 * The configuration of apps/api.
 * @throws ConfigError when a variable is unusable, or when the admin port would be open to others without TLS and without being told to.
 */
export function readApiConfig(env: Environment = process.env): ApiConfig {
  const read = readEnvironment(variables, env);
  const { CHANCERY_API_TLS_CERT_FILE: certFile, CHANCERY_API_TLS_KEY_FILE: keyFile } = read;
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw new ConfigError(['CHANCERY_API_TLS_CERT_FILE and CHANCERY_API_TLS_KEY_FILE: set both or none']);
  }
  const { CHANCERY_ANCHOR_FILE: file, CHANCERY_ANCHOR_PUBLIC_KEY_FILE: publicKeyFile } = read;
  if ((file === undefined) !== (publicKeyFile === undefined)) {
    throw new ConfigError([
      'CHANCERY_ANCHOR_FILE and CHANCERY_ANCHOR_PUBLIC_KEY_FILE: set both or none; the projector writes the key to $CHANCERY_ANCHOR_KEY_FILE.pub',
    ]);
  }
  const tls = certFile !== undefined && keyFile !== undefined ? { certFile, keyFile } : undefined;
  const listen = read.CHANCERY_API_LISTEN;
  if (!isLoopback(listen.host) && tls === undefined && !read.CHANCERY_API_ALLOW_REMOTE) {
    throw new ConfigError([
      `CHANCERY_API_LISTEN: ${listen.host} can be reached from other machines, and tokens would cross the network in the clear. ` +
        'Listen on 127.0.0.1, or configure TLS (CHANCERY_API_TLS_CERT_FILE, CHANCERY_API_TLS_KEY_FILE), or set CHANCERY_API_ALLOW_REMOTE=true behind a proxy that adds it',
    ]);
  }
  return Object.freeze({
    databaseUrl: read.DATABASE_URL,
    listen,
    tls,
    ambassadorStatus200: read.CHANCERY_AMBASSADOR_STATUS === '200',
    allowLoopbackUpstreams: read.CHANCERY_ALLOW_LOOPBACK_UPSTREAMS,
    ownPorts: [listen.port, read.CHANCERY_WORKER_LISTEN.port, portOf(read.DATABASE_URL, 5432), portOf(read.REDIS_URL, 6379)].filter(
      (port) => port !== 0,
    ),
    anchors: file !== undefined && publicKeyFile !== undefined ? { file, publicKeyFile } : undefined,
    kekFile: read.CHANCERY_KEK_FILE,
    logLevel: read.CHANCERY_LOG_LEVEL,
    failpointDir: read.CHANCERY_FAILPOINT_DIR,
  });
}

/** The port of a URL; 0 for no URL. */
function portOf(url: string | undefined, usual: number): number {
  return url === undefined ? 0 : Number(new URL(url).port || usual);
}

import { z } from 'zod';

import {
  ConfigError,
  databaseUrlVariable,
  type Environment,
  type Listen,
  listenVariable,
  processVariables,
  readEnvironment,
  required,
} from './environment.js';

export interface ProjectorConfig {
  /** As the application role. */
  readonly databaseUrl: string;
  /** Where /metrics and /healthz answer; undefined: nowhere. */
  readonly metricsListen: Listen | undefined;
  /** Where and how often the heads of the log are anchored outside the database; undefined: nowhere. */
  readonly anchors: { readonly file: string; readonly keyFile: string; readonly everyMs: number } | undefined;
  readonly logLevel: string;
  readonly failpointDir: string | undefined;
}

const variables = z.object({
  ...processVariables,
  DATABASE_URL: required(databaseUrlVariable, 'where Postgres is, for instance postgresql://chancery_app@127.0.0.1:5432/chancery'),
  CHANCERY_PROJECTOR_METRICS_LISTEN: listenVariable.optional(),
  CHANCERY_ANCHOR_FILE: z.string().optional(),
  CHANCERY_ANCHOR_KEY_FILE: z.string().optional(),
  CHANCERY_ANCHOR_EVERY_S: z
    .string()
    .regex(/^[1-9]\d{0,3}$/, 'must be a whole number of seconds from 1 to 3600')
    .transform(Number)
    .refine((seconds) => seconds <= 3600, 'must be a whole number of seconds from 1 to 3600')
    .default(60),
});

/**
 * The configuration of apps/projector.
 * @throws ConfigError when a variable is unusable.
 */
export function readProjectorConfig(env: Environment = process.env): ProjectorConfig {
  const read = readEnvironment(variables, env);
  const { CHANCERY_ANCHOR_FILE: file, CHANCERY_ANCHOR_KEY_FILE: keyFile } = read;
  if ((file === undefined) !== (keyFile === undefined))
    throw new ConfigError(['CHANCERY_ANCHOR_FILE and CHANCERY_ANCHOR_KEY_FILE: set both or none; a key that is missing is made']);
  const everyMs = read.CHANCERY_ANCHOR_EVERY_S * 1_000;
  return Object.freeze({
    databaseUrl: read.DATABASE_URL,
    metricsListen: read.CHANCERY_PROJECTOR_METRICS_LISTEN,
    anchors: file !== undefined && keyFile !== undefined ? { file, keyFile, everyMs } : undefined,
    logLevel: read.CHANCERY_LOG_LEVEL,
    failpointDir: read.CHANCERY_FAILPOINT_DIR,
  });
}

import { z } from 'zod';

import {
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
  readonly logLevel: string;
  readonly failpointDir: string | undefined;
}

const variables = z.object({
  ...processVariables,
  DATABASE_URL: required(databaseUrlVariable, 'where Postgres is, for instance postgresql://chancery_app@127.0.0.1:5432/chancery'),
  CHANCERY_PROJECTOR_METRICS_LISTEN: listenVariable.optional(),
});

/**
 * The configuration of apps/projector.
 * @throws ConfigError when a variable is unusable.
 */
export function readProjectorConfig(env: Environment = process.env): ProjectorConfig {
  const read = readEnvironment(variables, env);
  return Object.freeze({
    databaseUrl: read.DATABASE_URL,
    metricsListen: read.CHANCERY_PROJECTOR_METRICS_LISTEN,
    logLevel: read.CHANCERY_LOG_LEVEL,
    failpointDir: read.CHANCERY_FAILPOINT_DIR,
  });
}

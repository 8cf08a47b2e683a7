import { z } from 'zod';

import {
  ConfigError,
  databaseUrlVariable,
  type Environment,
  flagVariable,
  type Listen,
  listenVariable,
  processVariables,
  readEnvironment,
  required,
  urlVariable,
} from './environment.js';
import { type KubernetesConfig, kubernetesVariables, readKubernetes } from './kubernetes-config.js';

export interface WorkerConfig {
  /** As the application role. */
  readonly databaseUrl: string;
  /** The queue's Redis; undefined keeps the queue in Postgres. */
  readonly redisUrl: string | undefined;
  /** Where agents dial in (gRPC). */
  readonly listen: Listen;
  /** Files for mutual TLS on that port; undefined: none, and then it is open to this machine alone. */
  readonly tls: { readonly certificate: string; readonly key: string; readonly clientAuthorities: string } | undefined;
  /** Where /metrics and /healthz answer; undefined: nowhere. */
  readonly metricsListen: Listen | undefined;
  /** A YAML or JSON file with `services: {name: ['host:port']}`, watched. */
  readonly servicesFile: string | undefined;
  /** Whose Services and Secrets are looked at; undefined: there is no Kubernetes. */
  readonly kubernetes: KubernetesConfig | undefined;
  /** Lets upstreams be loopback addresses on every gateway, as a development machine needs. */
  readonly allowLoopbackUpstreams: boolean;
  readonly envoyPath: string | undefined;
  /** The file with the keys that private keys are kept under; undefined: certificates cannot be brought to Envoys that do not have them. */
  readonly kekFile: string | undefined;
  readonly logLevel: string;
  readonly failpointDir: string | undefined;
}

const variables = z.object({
  ...processVariables,
  ...kubernetesVariables,
  DATABASE_URL: required(databaseUrlVariable, 'where Postgres is, for instance postgresql://chancery_app@127.0.0.1:5432/chancery'),
  REDIS_URL: urlVariable('redis', 'rediss').optional(),
  CHANCERY_WORKER_LISTEN: listenVariable.default({ host: '127.0.0.1', port: 18_000 }),
  CHANCERY_WORKER_TLS_CERT: z.string().optional(),
  CHANCERY_WORKER_TLS_KEY: z.string().optional(),
  CHANCERY_WORKER_TLS_CA: z.string().optional(),
  CHANCERY_WORKER_METRICS_LISTEN: listenVariable.optional(),
  CHANCERY_SERVICES_FILE: z.string().optional(),
  CHANCERY_ALLOW_LOOPBACK_UPSTREAMS: flagVariable.default(false),
  ENVOY_PATH: z.string().optional(),
  CHANCERY_KEK_FILE: z.string().optional(),
});

/**
 * The configuration of apps/worker.
 * @throws ConfigError when a variable is unusable.
 */
export function readWorkerConfig(env: Environment = process.env): WorkerConfig {
  const read = readEnvironment(variables, env);
  return Object.freeze({
    databaseUrl: read.DATABASE_URL,
    redisUrl: read.REDIS_URL,
    listen: read.CHANCERY_WORKER_LISTEN,
    tls: readTls(read),
    metricsListen: read.CHANCERY_WORKER_METRICS_LISTEN,
    servicesFile: read.CHANCERY_SERVICES_FILE,
    kubernetes: readKubernetes(read),
    allowLoopbackUpstreams: read.CHANCERY_ALLOW_LOOPBACK_UPSTREAMS,
    envoyPath: read.ENVOY_PATH,
    kekFile: read.CHANCERY_KEK_FILE,
    logLevel: read.CHANCERY_LOG_LEVEL,
    failpointDir: read.CHANCERY_FAILPOINT_DIR,
  });
}

function readTls(read: z.infer<typeof variables>): WorkerConfig['tls'] {
  const { CHANCERY_WORKER_TLS_CERT: certificate, CHANCERY_WORKER_TLS_KEY: key, CHANCERY_WORKER_TLS_CA: clientAuthorities } = read;
  if (certificate === undefined && key === undefined && clientAuthorities === undefined) return undefined;
  if (certificate === undefined || key === undefined || clientAuthorities === undefined)
    throw new ConfigError(['CHANCERY_WORKER_TLS_CERT, CHANCERY_WORKER_TLS_KEY and CHANCERY_WORKER_TLS_CA: belong together']);
  return { certificate, key, clientAuthorities };
}

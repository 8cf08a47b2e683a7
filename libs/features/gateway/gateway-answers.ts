import { z } from 'zod';

const listen = z.object({ address: z.string(), port: z.int() });

export const settingsSchema = z.object({
  http: listen,
  https: listen.nullable(),
  drainTimeS: z.int(),
  parentShutdownTimeS: z.int(),
  idleTimeoutMs: z.int(),
  defaultTimeoutMs: z.int(),
  services: z.record(z.string(), z.array(z.string())),
  allowLoopbackUpstreams: z.boolean(),
  perRouteStats: z.enum(['auto', 'on', 'off']),
  delivery: z.enum(['live', 'hot-restart']),
  rollout: z.object({
    strategy: z.enum(['immediate', 'waves', 'manual']),
    canary: z.string().nullable(),
    sharePercent: z.int(),
    soakS: z.int(),
    proofDeadlineS: z.int(),
    errorRisePercent: z.number(),
    shrinkPercent: z.int(),
  }),
  tls: z.object({
    minimumVersion: z.enum(['1.2', '1.3']),
    ciphers: z.array(z.string()),
    http2: z.boolean(),
    redirectHttp: z.boolean(),
    redirectPort: z.int().nullable(),
    defaultCertificate: z.string().nullable(),
    clientCertificates: z
      .object({ hosts: z.array(z.string()), caBundle: z.string().nullable(), principals: z.boolean(), forward: z.boolean() })
      .nullable(),
  }),
});

export const gatewaySummarySchema = z.object({ name: z.string(), version: z.int(), hash: z.string() });
export const gatewaySchema = z.object({
  name: z.string(),
  version: z.int(),
  hash: z.string(),
  settings: settingsSchema,
  settingsVersion: z.int(),
});

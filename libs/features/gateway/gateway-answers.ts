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
});

export const gatewaySummarySchema = z.object({ name: z.string(), version: z.int(), hash: z.string() });
export const gatewaySchema = z.object({
  name: z.string(),
  version: z.int(),
  hash: z.string(),
  settings: settingsSchema,
  settingsVersion: z.int(),
});

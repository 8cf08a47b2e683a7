import { z } from 'zod';

import { isoTime } from '#platform/http/answer-schemas.js';

export const targetSchema = z.object({
  name: z.string(),
  gateway: z.string(),
  kind: z.enum(['agent', 'envoy']).describe('envoy: it dials the worker itself, without an agent, and proves nothing.'),
  state: z.enum(['enrolled', 'away', 'retired']),
  desiredVersion: z.int().describe('What it should run: the head of the gateway, or what a wave, a freeze or a pin says.'),
  appliedVersion: z.int(),
  provenVersion: z.int().describe('The newest version that it has proven through its data plane.'),
  delivery: z.enum(['live', 'hot-restart']).describe('How its Envoy gets its configuration.'),
  epoch: z.int().describe("Envoy's restart epoch; -1 when no Envoy runs."),
  agentState: z
    .string()
    .describe('What its agent does; for an Envoy without one "acked, unproven" when it has acknowledged the newest version.'),
  windowEndsAt: isoTime.nullable(),
  error: z.string(),
  lastSeenAt: isoTime.nullable(),
  envoyVersion: z.string(),
  release: z.string(),
  connected: z.boolean(),
});

export const deploymentSchema = z.object({
  id: z.string(),
  gateway: z.string(),
  target: z.string(),
  release: z.string(),
  version: z.int(),
  coversFrom: z.int().describe('The first version that it brought, up to `version`; 0 when that is not known.'),
  delivery: z.enum(['live', 'hot-restart']),
  renderSha256: z.string(),
  trigger: z.string(),
  state: z.enum(['running', 'proven', 'failed', 'superseded', 'refused']),
  code: z.string(),
  detail: z.string(),
  startedAt: isoTime,
  finishedAt: isoTime.nullable(),
  epochFrom: z.int(),
  epochTo: z.int(),
  steps: z.array(z.object({ step: z.string(), at: isoTime, durationMs: z.number(), detail: z.string(), code: z.string() })),
});

const reasonMembers = { code: z.string(), message: z.string() };

export const propagationSchema = z.object({
  version: z.int(),
  state: z
    .enum(['live', 'pending', 'refused', 'held', 'no_targets'])
    .describe('held: nothing moves before somebody promotes, confirms or unfreezes.'),
  satisfied: z.boolean().describe('There is nothing left to wait for.'),
  targets: z.array(
    z.object({
      name: z.string(),
      state: z
        .enum(['live', 'acked', 'superseded', 'pending', 'in_wave', 'refused', 'held', 'frozen', 'away', 'pinned'])
        .describe(
          'acked: an Envoy without an agent has acknowledged it; nobody has proven it through its data plane. in_wave: a wave brings it. away, pinned: nothing waits for this target.',
        ),
      desiredVersion: z.int(),
      appliedVersion: z.int(),
      provenVersion: z.int(),
      supersededBy: z.int().nullable().describe('The newer version that it has proven instead.'),
      reason: z.object(reasonMembers).nullable().describe('Why it is refused, or what went wrong so far.'),
      mappings: z
        .array(z.object({ name: z.string(), ...reasonMembers }))
        .describe('Mappings of this version or an older one that are set aside: they answer 503, the rest is live.'),
      certificates: z
        .array(z.object({ name: z.string(), ...reasonMembers }))
        .describe('Certificates of this version or an older one that targets do not get: they keep the one before, or none.'),
    }),
  ),
});

export const redeploymentSchema = z.object({
  id: z.string(),
  targets: z.array(z.string()).nullable().describe('null: every target of the gateway.'),
  reason: z.string(),
  force: z.boolean(),
  requestedAt: isoTime.nullable(),
});

export const statsSchema = z.object({
  at: isoTime.nullable(),
  mappings: z.record(
    z.string(),
    z.object({
      healthyMembers: z.number(),
      totalMembers: z.number(),
      rq2xx: z.number(),
      rq3xx: z.number(),
      rq4xx: z.number(),
      rq5xx: z.number(),
      rqTotal: z.number(),
    }),
  ),
  envoy: z.record(z.string(), z.number()),
  updateAttempts: z.number(),
  updateSuccesses: z.number(),
  updateErrors: z.number(),
  lastUpdateAt: isoTime.nullable(),
  lastAttemptAt: isoTime.nullable(),
});

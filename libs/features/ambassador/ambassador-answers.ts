import { z } from 'zod';

import { warningSchema } from '#platform/http/answer-schemas.js';

const self = { ok: z.literal(true), hostname: z.string(), resolvedname: z.string(), version: z.string() };
const count = z.int();
const deprecated = z.string();
const mapping = { name: z.string(), prefix: z.string(), rewrite: z.string(), service: z.string() };
const principal = z.object({ name: z.string(), fingerprint: z.string() });

export const healthSchema = z.object({ ...self, msg: z.string() });
export const mappingsSchema = z.object({ ...self, count, mappings: z.array(z.object(mapping)), deprecated });
export const mappingsWithModulesSchema = z.object({
  ...self,
  count,
  mappings: z.array(z.object({ ...mapping, modules: z.record(z.string(), z.unknown()) })),
});
export const messageSchema = z.object({ ...self, msg: z.string() });
export const storedSchema = z.object({
  ...self,
  name: z.string(),
  warnings: z.array(warningSchema).optional(),
  deprecated: deprecated.optional(),
});
export const mappingAnswerSchema = z.object({ ...self, ...mapping, modules: z.record(z.string(), z.unknown()) });
export const deletedSchema = z.object({ ...self, name: z.string(), deleted: z.int(), modules_deleted: z.int() });
export const principalsSchema = z.object({ ...self, count, principals: z.array(principal) });
export const principalAnswerSchema = z.object({ ...self, name: z.string(), fingerprint: z.string() });
export const principalDeletedSchema = z.object({ ...self, name: z.string(), deleted: z.int() });
export const approvedSchema = z.object({ ...self, certificates: z.array(z.object({ fingerprint_sha256: z.string() })) });
export const dryRunEnvelopeSchema = z.looseObject({ ...self, dryRun: z.literal(true) });

export const ambassadorStatsSchema = z.object({
  last_update: z.number().describe('Seconds since 1970; 0 for never.'),
  last_attempt: z.number(),
  update_errors: z.int(),
  mappings: z.record(
    z.string(),
    z.object({
      healthy_members: z.int(),
      total_members: z.int(),
      healthy_percent: z.number().nullable(),
      update_attempts: z.int(),
      update_successes: z.int(),
      update_percent: z.number().nullable(),
      upstream_ok: z.int(),
      upstream_4xx: z.int(),
      upstream_5xx: z.int(),
      upstream_bad: z.int(),
    }),
  ),
  envoy: z.record(z.string(), z.number()),
});

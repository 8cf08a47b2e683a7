import { z } from 'zod';

import { changeSchema, dryRunSchema, isoTime, routeTestsSchema } from '#platform/http/answer-schemas.js';

const changed = {
  version: z.int().describe('The new version; the present one when nothing had to be changed.'),
  unchanged: z.boolean(),
  changes: z.array(changeSchema),
  routeTests: routeTestsSchema.optional(),
};

const digest = z.string().describe('SHA-256 of the canonical document of the configuration at toVersion.');

const exceptions = z
  .array(z.object({ subject: z.string(), code: z.string(), message: z.string() }))
  .optional()
  .describe('With includeCertificates: those that stay as they are, and why.');

export const rollbackSchema = z.object({
  ...changed,
  toVersion: z.int(),
  exceptions,
  digest,
  restoredDigest: z.string().describe('The same of the new version, read back after it was recorded.'),
  equal: z.literal(true),
});

export const rollbackPlanSchema = dryRunSchema.extend({ toVersion: z.int(), digest, exceptions });

export const revertSchema = z.object({ ...changed, reverted: z.int() });

export const conflictSchema = z.object({
  subject: z.string(),
  pointer: z.string().describe('The member of its state; empty for the subject as a whole.'),
  laterVersion: z.int().describe('The version that made it what it is now.'),
  message: z.string(),
});

export const confirmedSchema = z.object({
  version: z.int(),
  state: z.literal('confirmed'),
  confirmedBy: z.string(),
  confirmedAt: isoTime,
});

export const confirmationSchema = z.object({
  version: z.int(),
  state: z.enum(['open', 'confirmed', 'reverted', 'conflicted']).describe('conflicted: undone but for what `conflicts` says.'),
  deadline: isoTime,
  settledAt: isoTime.nullable(),
  confirmedBy: z.string().nullable(),
  reason: z.string().nullable(),
  revertVersion: z.int().nullable().describe('The version that undid it; null when nothing was left to be undone.'),
  conflicts: z.array(conflictSchema),
});

export const quarantineSchema = z.object({
  id: z.string(),
  subject: z.string(),
  digest: z.string(),
  reason: z.string(),
  gatewayVersion: z.int().nullable(),
  quarantinedBy: z.string(),
  quarantinedAt: isoTime,
});

export const liftedSchema = z.object({ id: z.string(), lifted: z.literal(true) });

import { z } from 'zod';

import { isoTime } from '#platform/http/answer-schemas.js';
import { pageParameters } from '#platform/http/page.js';

import { CATEGORIES, RESULTS } from './audit-trail.table.js';

/** Text that a name or an id can be: no control characters, which the database could not even compare with. */
const text = (most: number) =>
  z
    .string()
    .max(most)
    .regex(/^[^\p{Cc}\p{Cs}]*$/u, { error: 'must not hold control characters' });
const time = z.iso
  .datetime({ offset: true, error: 'must be a time such as 2026-11-25T17:00:00Z' })
  .refine((given) => !Number.isNaN(Date.parse(given)));

export const auditParameters = z.strictObject({
  actor: text(200).optional().describe('Exactly this actor: token/0123456789abcdef, system, anonymous.'),
  action: text(100).optional().describe('Exactly this action: CreateMapping, RefuseAttempt, UseToken.'),
  subject: text(300).optional().describe('What touches this subject, or was refused at it: mapping/user, token/…, target/….'),
  result: z.enum(RESULTS).optional().describe('What became of it.'),
  gateway: text(64).optional().describe('Only of this gateway.'),
  category: z.enum(CATEGORIES).optional().describe('What it is about.'),
  code: text(100).optional().describe('The code of the refusal, or of a deployment that failed.'),
  since: time.optional().describe('From this time on (ISO 8601).'),
  until: time.optional().describe('Before this time (ISO 8601).'),
  q: text(200)
    .regex(/[\p{L}\p{N}]/u, { error: 'must hold a word' })
    .optional()
    .describe('All of these words, in any of action, actor, reason, subjects, code, gateway and request id.'),
  limit: pageParameters.limit
    .removeDefault()
    .optional()
    .describe('How many at most: 1 to 1000 a page (100 if not said); an export is whole if not said.'),
  cursor: pageParameters.cursor,
  after: z
    .string()
    .regex(/^\d{1,15}$/, { error: 'must be a position' })
    .transform(Number)
    .optional()
    .describe('For an export or an event stream: only what comes after this position.'),
});

export type AuditParameters = z.infer<typeof auditParameters>;

export const auditRowSchema = z.object({
  position: z.int().describe('Its place in the trail, without gaps; begins again when the trail is built anew.'),
  at: isoTime,
  category: z.enum(CATEGORIES),
  stream: z.string(),
  version: z.int().describe("The stream's."),
  gateway: z.string().nullable(),
  action: z.string(),
  actor: z.string(),
  subjects: z.array(z.string()).describe('The first 20.'),
  subjectCount: z.int(),
  result: z.enum(RESULTS),
  status: z.int().nullable().describe('The HTTP status of a refusal.'),
  code: z.string().nullable(),
  reason: z.string().nullable(),
  requestId: z.string().nullable(),
  commandId: z.string().describe('Of a refusal, the id of the command that was refused.'),
  hash: z.string().describe("The version's in its chain."),
  count: z.int().describe('How many attempts a row of counted refusals stands for; else 1.'),
});

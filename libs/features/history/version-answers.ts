import { z } from 'zod';

import { isoTime } from '#platform/http/answer-schemas.js';

const fields = {
  version: z.int(),
  action: z.string(),
  actor: z.string(),
  reason: z.string().nullable(),
  requestId: z.string().nullable(),
  commandId: z.string(),
  idempotencyKey: z.string().nullable(),
  recordedAt: isoTime,
  hash: z.string(),
  parentHash: z.string(),
  eventCount: z.int(),
  details: z.unknown().describe('What the action alone does not say: which version a rollback restored, and the like.'),
};

export const versionSchema = z.object(fields);

export const versionWithEventsSchema = z.object({
  ...fields,
  events: z.array(
    z.object({
      index: z.int(),
      type: z.string(),
      schemaVersion: z.int(),
      subject: z.string(),
      subjectVersion: z.int(),
      before: z.unknown(),
      state: z.unknown(),
    }),
  ),
});

import { z } from 'zod';

import { isoTime, warningSchema } from '#platform/http/answer-schemas.js';

const faultFields = {
  kind: z
    .string()
    .describe(
      '`altered`, `deleted`, `inserted`, `reordered`, `gap`, `head_mismatch`, `truncated`, `anchor_mismatch`, `state_mismatch`; of the anchor file `anchor_invalid`, `anchor_chain_broken`, `anchor_file_rewritten`, `anchor_unreadable`.',
    ),
  table: z.string().nullable(),
  version: z.int().nullable(),
  subject: z.string().nullable(),
  position: z.int().nullable().describe('Of an event within its version, from 0.'),
  from: z.int().nullable().describe('The first version in doubt, where there are several.'),
  to: z.int().nullable().describe('The last version in doubt.'),
  message: z.string(),
};

const anchorFaultSchema = z.object({
  ...faultFields,
  stream: z.string().nullable(),
  line: z.int().nullable().describe('Of the anchor file, from 1.'),
});

export const verificationSchema = z.object({
  ok: z.boolean(),
  mode: z.enum(['incremental', 'full']),
  checkedAt: isoTime,
  durationMs: z.int(),
  streams: z.array(
    z.object({
      stream: z.string(),
      version: z.int().describe('Verified up to this version.'),
      hash: z.string(),
      ok: z.boolean(),
      checked: z.int().describe('How many versions were recomputed.'),
      fault: z
        .union([anchorFaultSchema, z.object(faultFields)])
        .nullable()
        .describe('The first one.'),
    }),
  ),
  anchors: z.object({
    configured: z.boolean(),
    ok: z.boolean(),
    count: z.int(),
    lastAt: isoTime.nullable(),
    faults: z.array(anchorFaultSchema),
  }),
  warnings: z.array(warningSchema),
});

import { z } from 'zod';

import { isoTime } from '#platform/http/answer-schemas.js';

const since = isoTime.describe('Since when it is so.');
const by = z.string().describe('`system`: a worker, as the settings say.');
const traffic = z.object({ requests: z.int(), rq5xx: z.int(), noRoute: z.int() });

const waveSchema = z.object({
  version: z.int(),
  from: z.int().describe('What its targets ran before, and go back to when it is halted.'),
  state: z.enum(['advancing', 'halted', 'resumed', 'finished']),
  phase: z.enum(['canary', 'share', 'all']),
  targets: z.array(z.string()).nullable().describe('Those that run the version by now; null: all.'),
  phaseSince: isoTime.nullable().describe('When the phase began, once it is proven and is being watched.'),
  head: z.int(),
  baseline: traffic.describe('What the targets of the phase answered in the minutes before it.'),
  cause: z
    .object({
      code: z.enum(['refused', 'set_aside', 'proof_missing', 'errors_rise', 'no_route_rise', 'by_hand']),
      target: z.string().nullable(),
      message: z.string(),
    })
    .nullable()
    .describe('Why it was halted.'),
  by,
  reason: z.string().nullable(),
  since,
});

const holdSchema = z.object({
  id: z.string().describe('Names exactly this loss.'),
  version: z.int().describe('The version that would be pushed.'),
  state: z.enum(['held', 'confirmed']),
  limitPercent: z.int(),
  losses: z.array(
    z.object({
      kind: z.enum(['routes', 'hosts', 'certificates']),
      before: z.int(),
      lost: z.int(),
      names: z.array(z.string()).describe('The first of them.'),
    }),
  ),
  by,
  reason: z.string().nullable(),
  since,
});

export const rolloutSchema = z.object({
  gateway: z.string(),
  policy: z.object({
    strategy: z.enum(['immediate', 'waves', 'manual']),
    canary: z.string().nullable(),
    sharePercent: z.int(),
    soakS: z.int(),
    proofDeadlineS: z.int(),
    errorRisePercent: z.number(),
    shrinkPercent: z.int(),
  }),
  state: z
    .enum(['immediate', 'settled', 'waiting', 'in_wave', 'halted', 'held', 'frozen'])
    .describe('waiting: there is a version that no wave brings yet and nobody has promoted. held: a push would lose too much.'),
  headVersion: z.int(),
  releasedVersion: z.int().describe('What every target may have; what is newer must be brought by a wave or a promotion.'),
  wave: waveSchema.nullable().describe('The one that is under way, or the last one.'),
  freeze: z.object({ version: z.int(), by, reason: z.string(), since }).nullable(),
  hold: holdSchema.nullable(),
  pins: z.array(z.object({ target: z.string(), version: z.int(), by, reason: z.string(), since })),
  targets: z.array(
    z.object({
      name: z.string(),
      state: z.enum(['enrolled', 'away', 'retired']),
      desiredVersion: z.int(),
      provenVersion: z.int(),
      because: z.enum(['immediate', 'released', 'frozen', 'wave', 'pinned']),
    }),
  ),
});

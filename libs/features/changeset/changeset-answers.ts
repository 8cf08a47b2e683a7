import type { FastifyReply } from 'fastify';
import { z } from 'zod';

import type { Outcome } from '#platform/eventstore/event-store.js';
import { changeSchema, routeTestsSchema, warningSchema } from '#platform/http/answer-schemas.js';
import { streamTag } from '#platform/http/entity-tag.js';
import { changesInTurns, dryRunAnswer, testedRoutes, type Warning } from '#platform/http/write-answer.js';

/** So many changes are listed in an answer; `changeCount` says how many there are, and the version has them all. */
const MOST_LISTED = 10_000;

export const setSchema = z.object({
  version: z.int().describe("The gateway's version: the one that this made, or the present one when nothing changed."),
  unchanged: z.boolean(),
  changes: z.array(changeSchema).describe(`At most ${MOST_LISTED}.`),
  changeCount: z.int(),
  warnings: z.array(warningSchema).describe('At most 50, the gravest first.'),
  routeTests: routeTestsSchema.optional(),
});

/** Answers a set of changes, or the plan of one. */
export async function setAnswer(reply: FastifyReply, outcome: Outcome, warnings: readonly Warning[]): Promise<object> {
  const changes = await changesInTurns({ ...outcome, events: outcome.events.slice(0, MOST_LISTED) });
  const changeCount = outcome.events.length;
  if (outcome.dryRun) return { ...dryRunAnswer(reply, outcome, warnings, changes), changeCount };
  reply.header('ETag', streamTag(outcome.version)).header('Chancery-Version', String(outcome.version));
  if (outcome.replayed) reply.header('Idempotency-Replayed', 'true');
  return {
    version: outcome.version,
    unchanged: outcome.unchanged,
    changes,
    changeCount,
    warnings,
    ...testedRoutes(outcome),
  };
}

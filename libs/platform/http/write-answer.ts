import type { FastifyReply } from 'fastify';

import type { Outcome, RecordedEvent } from '#platform/eventstore/event-store.js';
import type { JsonObject } from '#platform/kernel/json.js';
import { mapInTurns } from '#platform/kernel/turns.js';

import { entityTag, streamTag } from './entity-tag.js';
import { type Difference, jsonDiff } from './json-diff.js';

export interface Warning {
  readonly code: string;
  readonly message: string;
  readonly pointer: string;
}

/** The headers that every write answers with: the subject's tag, the stream's version, and whether this is an answer given before. */
export function writeHeaders(reply: FastifyReply, outcome: Outcome, subject: string): void {
  const version = subjectVersion(outcome, subject);
  if (version !== undefined) reply.header('ETag', entityTag(version));
  reply.header('Chancery-Version', String(outcome.version));
  if (outcome.replayed) reply.header('Idempotency-Replayed', 'true');
}

/** The subject's version after the command: the event's, or the one that was found when there was nothing to do. */
export function subjectVersion(outcome: Outcome, subject: string): number | undefined {
  return outcome.events.findLast((event) => event.subject === subject)?.subjectVersion ?? outcome.before.get(subject)?.version;
}

/** The subject's state after the command, null when it is gone. */
export function subjectState(outcome: Outcome, subject: string): JsonObject | null {
  const event = outcome.events.findLast((candidate) => candidate.subject === subject);
  return event === undefined ? (outcome.before.get(subject)?.state ?? null) : event.state;
}

/**
 * The answer to a dry run: what would change, member by member, and what is worth a second look. Nothing was written. Its ETag as the If-Match of the
 * write carries out exactly this plan, or 412 when anything of the gateway has changed since.
 */
export function dryRunAnswer(
  reply: FastifyReply,
  outcome: Outcome,
  warnings: readonly Warning[] = [],
  changes: readonly Change[] = changesOf(outcome),
): JsonObject {
  reply
    .header('Dry-Run', 'true')
    .header('ETag', streamTag(outcome.basedOn))
    .header('Chancery-Version', String(outcome.basedOn))
    .status(200);
  return { dryRun: true, basedOn: outcome.basedOn, changes, warnings, ...outcome.notes } as unknown as JsonObject;
}

/** What the record says of the route tests that a write was tried by; nothing where it met none. */
export function testedRoutes(outcome: Outcome): JsonObject {
  const routeTests = outcome.details?.routeTests;
  return routeTests === undefined ? {} : { routeTests };
}

/** One event as an answer shows it. */
export interface Change {
  readonly subject: string;
  readonly event: string;
  readonly before: JsonObject | null;
  readonly after: JsonObject | null;
  readonly diff: readonly Difference[];
}

/** What a command did, or would do, event by event and member by member. */
export function changesOf(outcome: Outcome): Change[] {
  return outcome.events.map((event) => changeOf(outcome, event));
}

/** As `changesOf`, for a command over many subjects: others have their turn in between. */
export function changesInTurns(outcome: Outcome): Promise<Change[]> {
  return mapInTurns(outcome.events, (event) => changeOf(outcome, event));
}

function changeOf({ before: known }: Outcome, { subject, type, state }: RecordedEvent): Change {
  const before = known.get(subject)?.state ?? null;
  return { subject, event: type, before, after: state, diff: jsonDiff(before, state) };
}

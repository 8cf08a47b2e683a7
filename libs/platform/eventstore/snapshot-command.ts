import { DomainError } from '#platform/kernel/errors.js';

import type { Decided, Outcome, WideView } from './command.js';
import { checkPrecondition, viewOf } from './decision.js';
import type { EventStore } from './event-store.js';
import { type DecideOnSnapshot, livingKinds, recordsOf, snapshotOf, type WholeRequest } from './whole-stream.js';

export type { DecideOnSnapshot, Snapshot } from './whole-stream.js';

/** Each round lost means that another command was recorded; a stream that never stands still is not for commands over all of it. */
const MOST_ROUNDS = 20;
/** After so many the others are held back while it decides: 32 steady writers overtake 20 of 20 rounds, and wait some 10 ms for one that holds. */
const ROUNDS_UNHELD = 3;
/** A decision that takes longer holds nobody back: an import of a whole configuration waits for a quiet moment instead. In ms. */
const LONGEST_HELD_MS = 200;

/**
 * `EventStore.handle` for a command about a stream as a whole (an import, a rollback), which cannot name its subjects beforehand: it decides on a
 * snapshot, and is appended only while the stream is at exactly that version. Without a `precondition.streamVersion` it decides again when the stream
 * moved, and holds the stream when that does not help.
 * @throws DomainError as `handle`; whatever `decide` throws; conflict `contended`.
 */
export async function handleOnSnapshot(store: EventStore, request: WholeRequest, decide: DecideOnSnapshot): Promise<Outcome> {
  const replayed = await store.findReplay(request);
  if (replayed) return replayed;
  try {
    return await inRounds(store, request, decide);
  } catch (error) {
    // The same request, sent twice, may have been recorded between that look and the snapshot on which this one was refused.
    const late = error instanceof DomainError && error.kind !== 'unavailable' ? await store.findReplay(request) : undefined;
    if (late) return late;
    throw error;
  }
}

async function inRounds(store: EventStore, request: WholeRequest, decide: DecideOnSnapshot): Promise<Outcome> {
  const streamVersion = request.precondition?.streamVersion;
  let decidedInMs = 0;
  const endsAt = endOf(request);
  for (let round = 0; round < MOST_ROUNDS && performance.now() < endsAt; round++) {
    if (round >= ROUNDS_UNHELD && streamVersion === undefined && decidedInMs <= LONGEST_HELD_MS) {
      const outcome = await store.handleHeld(request, decide);
      if (outcome !== undefined) return outcome;
      continue;
    }
    const beganAt = performance.now();
    const whole = await store.readWhole(request.stream);
    if (streamVersion !== undefined) checkPrecondition({ streamVersion }, viewOf(whole.version, whole.records));
    const decided = await decide(await snapshotOf(whole));
    decidedInMs = performance.now() - beganAt;
    const outcome = await store.handleWhole(request, whole, decided);
    if (outcome !== undefined) return outcome; // otherwise the stream moved: who named its version is told so by the next look
  }
  throw new DomainError(
    'conflict',
    'contended',
    'The configuration keeps changing: nothing was recorded; try again, or name the version with If-Match.',
  );
}

/**
 * `EventStore.handle` for a decision about so many subjects that it must let others have their turn. As there, it may look at those and no others, and it is
 * decided again when one of them moved.
 * @throws DomainError as `handle`.
 */
export async function handleMany(
  store: EventStore,
  request: WholeRequest,
  subjects: readonly string[],
  decide: (view: WideView) => Promise<Decided>,
): Promise<Outcome> {
  const endsAt = endOf(request);
  for (let round = 0; round < MOST_ROUNDS && performance.now() < endsAt; round++) {
    const whole = await store.readWhole(request.stream);
    // After the subjects, never before: then a state that this key's first request made is not seen without the key.
    const replayed = await store.findReplay(request);
    if (replayed) return replayed;
    const records = await recordsOf(request, NOTHING, whole.records, subjects);
    const view = viewOf(whole.version, records, await livingKinds(whole, request.kinds ?? []));
    checkPrecondition(request.precondition, view);
    const decided = await decide(view);
    const outcome = await store.handleWhole(request, whole, decided, subjects);
    if (outcome !== undefined) return outcome;
  }
  throw new DomainError('conflict', 'contended', 'Others keep changing what this changes: nothing was recorded; try again.');
}

/** When no further round is begun; the one that is under way then has its own deadline. */
function endOf({ deadlineMs = Number.POSITIVE_INFINITY }: WholeRequest): number {
  return performance.now() + deadlineMs;
}

const NOTHING: Decided = { events: [], details: null };

import type { Db } from '#platform/database/database.js';
import { DomainError } from '#platform/kernel/errors.js';

import type { HandleRequest, Outcome } from './command.js';
import { checkPrecondition, viewOf } from './decision.js';
import type { EventStore } from './event-store.js';
import type { DecideOnSnapshot } from './held-append.js';
import { readSnapshot } from './read-log.js';

export type { DecideOnSnapshot, Snapshot } from './held-append.js';

/** Each round lost means that another command was recorded; a stream that never stands still is not for commands over all of it. */
const MOST_ROUNDS = 20;
/** After so many the others are held back while it decides: 32 steady writers overtake 20 of 20 rounds, and wait some 10 ms for one that holds. */
const ROUNDS_UNHELD = 3;

/**
 * `EventStore.handle` for a command about a stream as a whole (an import, a rollback), which cannot name its subjects beforehand: it decides on a
 * snapshot, and is appended only while the stream is at exactly that version. Without a `precondition.streamVersion` it decides again when the stream
 * moved, and holds the stream when that does not help.
 * @throws DomainError as `handle`; whatever `decide` throws; conflict `contended`.
 */
export async function handleOnSnapshot(
  store: EventStore,
  db: Db,
  request: Omit<HandleRequest, 'subjects'>,
  decide: DecideOnSnapshot,
): Promise<Outcome> {
  const replayed = await store.findReplay(request);
  if (replayed) return replayed;
  try {
    return await inRounds(store, db, request, decide);
  } catch (error) {
    // The same request, sent twice, may have been recorded between that look and the snapshot on which this one was refused.
    const late = error instanceof DomainError && error.kind !== 'unavailable' ? await store.findReplay(request) : undefined;
    if (late) return late;
    throw error;
  }
}

async function inRounds(store: EventStore, db: Db, request: Omit<HandleRequest, 'subjects'>, decide: DecideOnSnapshot): Promise<Outcome> {
  const { streamVersion, ...precondition } = request.precondition ?? {};
  for (let round = 0; round < MOST_ROUNDS; round++) {
    if (round >= ROUNDS_UNHELD && streamVersion === undefined) {
      const outcome = await store.handleHeld(request, decide);
      if (outcome !== undefined) return outcome;
      continue;
    }
    const { version, subjects: living } = await readSnapshot(db, request.stream);
    const subjects = new Map(living.map((record) => [record.subject, record]));
    checkPrecondition(streamVersion === undefined ? undefined : { streamVersion }, viewOf(version, subjects));
    const decided = await decide({ version, subjects });
    const touched = [...new Set(decided.events.map(({ subject }) => subject))];
    try {
      const pinned = { ...request, subjects: touched, precondition: { ...precondition, streamVersion: version } };
      return await store.handle(pinned, () => decided);
    } catch (error) {
      const moved = error instanceof DomainError && error.code === 'version_mismatch' && error.extra.subject === undefined;
      if (!moved || streamVersion !== undefined) throw error;
    }
  }
  throw new DomainError(
    'conflict',
    'contended',
    'The configuration keeps changing: nothing was recorded; try again, or name the version with If-Match.',
  );
}

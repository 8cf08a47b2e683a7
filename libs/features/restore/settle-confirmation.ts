import type { Outcome } from '#platform/eventstore/event-store.js';
import { readSubject } from '#platform/eventstore/read-log.js';
import { failpoint } from '#platform/failpoint/failpoint.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { attemptRevert, type RestoreWorld, RevertConflicts } from './attempt-revert.js';
import {
  type AwaitedVersion,
  type ConfirmationState,
  confirmationCommandId,
  confirmationSubject,
  expireConfirmation,
  rolloutStream,
  settleExpired,
} from './confirmation.js';
import { noteSettled, type Settled } from './confirmation.table.js';
import { readQuarantines } from './list-quarantines.js';
import { digestsOf, quarantinedAmong } from './quarantine.js';
import type { RevertConflict } from './restore.js';
import { readCommandVersion, readVersionChanges } from './version-changes.table.js';

/**
 * Brings a version whose time to be confirmed is over to its end: the expiry is recorded unless a confirmation was first, then what it did is undone,
 * then it is said how that went. Each step asks the log whether it was done and has the same command id everywhere, so it may be broken off
 * anywhere, begun again by anyone, and done by several at once.
 * @throws DomainError as `EventStore.handle`; call again later.
 */
export async function settleConfirmation(world: RestoreWorld, awaited: AwaitedVersion): Promise<Settled> {
  const state = await ended(world, awaited);
  const settled = state === 'expired' ? await undoExpired(world, awaited) : state;
  await noteSettled(world.db, awaited, settled);
  return settled;
}

/** How it ended: as the log says, or by this expiry. */
async function ended(world: RestoreWorld, awaited: AwaitedVersion): Promise<ConfirmationState['state']> {
  await record(world, awaited, 'expire', 'ExpireConfirmation', expireConfirmation(awaited));
  return readState(world, awaited);
}

async function undoExpired(world: RestoreWorld, awaited: AwaitedVersion): Promise<Settled> {
  failpoint('worker.afterExpiryBeforeRevert');
  const undone = await revertUnconfirmed(world, awaited);
  failpoint('worker.afterRevertBeforeSettled');
  await record(world, awaited, 'settle', 'SettleConfirmation', settleExpired(awaited, undone));
  return (await readState(world, awaited)) === 'conflicted' ? 'conflicted' : 'reverted';
}

async function readState({ db }: RestoreWorld, { gateway, version }: AwaitedVersion): Promise<ConfirmationState['state']> {
  const { state } = await readSubject(db, rolloutStream(gateway), confirmationSubject(version));
  if (state === null) throw new Error(`the end of the wait for version ${version} of ${gateway} is recorded, and is not there`);
  return (state as ConfirmationState).state;
}

async function record(
  world: RestoreWorld,
  awaited: AwaitedVersion,
  step: 'expire' | 'settle',
  action: string,
  decide: Parameters<RestoreWorld['events']['handle']>[1],
): Promise<Outcome> {
  const { gateway, version } = awaited;
  const context = { commandId: confirmationCommandId(step, awaited), action, actor: 'system', reason: null };
  return world.events.handle({ stream: rolloutStream(gateway), subjects: [confirmationSubject(version)], context }, decide);
}

interface Undone {
  readonly revertVersion: number | null;
  readonly conflicts: readonly JsonObject[];
}

/**
 * Undoes what can be undone of it. Nobody is there to decide about a subject that has become something else since, so it is left as it is and said.
 * Each round finds the subjects that cannot go back; the round that finds none is the one that is recorded.
 */
async function revertUnconfirmed(world: RestoreWorld, awaited: AwaitedVersion): Promise<Undone> {
  const { gateway, version, deadline } = awaited;
  const stream = `gateway/${gateway}`;
  const commandId = confirmationCommandId('revert', awaited);
  const conflicts: RevertConflict[] = [];
  const context = { commandId, action: 'RevertUnconfirmed', actor: 'system', reason: `Not confirmed by ${deadline}.` };
  // A revert that is recorded is not made again, though somebody may have brought the version's work back since.
  if ((await readCommandVersion(world.db, commandId)) === undefined) {
    const changes = await readVersionChanges(world.db, world.kinds, stream, version);
    const quarantines = await readQuarantines(world.db, gateway);
    const round = () =>
      attemptRevert(world, {
        version,
        changes,
        leave: new Set(conflicts.map(({ subject }) => subject)),
        request: { stream, context },
        review: (events, view) => {
          const quarantined = quarantinedAmong(quarantines, digestsOf(events));
          if (quarantined.length === 0) return { version, conflicts: conflicts.map((conflict) => ({ ...conflict })) };
          throw new RevertConflicts(
            quarantined.map(({ subject, id, reason }) => ({
              subject,
              pointer: '',
              laterVersion: view.subject(subject).streamVersion,
              message: `What ${subject} was before is under quarantine (${id}): ${reason}`,
            })),
          );
        },
      });
    while (!(await isThrough(round, conflicts)));
  }
  const recorded = await readCommandVersion(world.db, commandId);
  if (recorded === undefined) return { revertVersion: null, conflicts: conflicts.map((conflict) => ({ ...conflict })) };
  return { revertVersion: recorded.version, conflicts: (recorded.details?.conflicts ?? []) as readonly JsonObject[] };
}

/** One round; what stands in its way is added to `conflicts`. */
async function isThrough(round: () => Promise<Outcome>, conflicts: RevertConflict[]): Promise<boolean> {
  try {
    await round();
    return true;
  } catch (error) {
    if (!(error instanceof RevertConflicts)) throw error;
    conflicts.push(...error.conflicts);
    return false;
  }
}

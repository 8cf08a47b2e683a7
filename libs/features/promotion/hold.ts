import type { NewEvent, View } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';

import type { HoldState } from './promotion.js';
import type { Shrink } from './shrink.js';
import type { Orderer } from './wave.js';

const schemaVersion = 1;
const subject = 'hold';

/** Keeps a push back that would lose too much. Nothing to do when exactly this loss is held or confirmed. */
export const holdPush =
  (version: number, { id, limitPercent, losses }: Shrink) =>
  (view: View): NewEvent[] => {
    const before = view.subject(subject).state as HoldState | null;
    if (before?.id === id) return [];
    const state: HoldState = { id, version, state: 'held', limitPercent, losses: [...losses], by: 'system', reason: null };
    return [{ type: 'PushHeld', schemaVersion, subject, state }];
  };

/**
 * Says that exactly this loss is meant. Nothing to do when that is said.
 * @param id of the hold that was looked at; undefined: whichever there is
 * @throws DomainError conflict `nothing_held`, `hold_changed`.
 */
export const confirmPush =
  (id: string | undefined, { by, reason }: Orderer) =>
  (view: View): NewEvent[] => {
    const state = view.subject(subject).state as HoldState | null;
    if (state === null) throw new DomainError('conflict', 'nothing_held', 'No push is held, so there is nothing to confirm.');
    if (id !== undefined && id !== state.id) {
      const message = `What would be lost is not what it was: the hold is ${state.id} now. Look at it again (GET rollout), and confirm that one.`;
      throw new DomainError('conflict', 'hold_changed', message, { extra: { hold: state.id } });
    }
    return state.state === 'confirmed'
      ? []
      : [{ type: 'PushConfirmed', schemaVersion, subject, state: { ...state, state: 'confirmed', by, reason } }];
  };

/** Nothing would be lost any more, or it is gone with a confirmed push. Nothing to do when another loss is held by now. */
export const endHold =
  (id: string) =>
  (view: View): NewEvent[] => {
    const state = view.subject(subject).state as HoldState | null;
    return state?.id === id ? [{ type: 'HoldEnded', schemaVersion, subject, state: null }] : [];
  };

import type { NewEvent, View } from '#platform/eventstore/event-store.js';
import { derivedUuid } from '#platform/kernel/digest.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { JsonObject } from '#platform/kernel/json.js';

/**
 * What becomes of a version that asked to be confirmed, as the subject `confirmation/<version>` of the stream `rollout/<gateway>`:
 *
 *   (nothing) --VersionConfirmed--> confirmed
 *   (nothing) --ConfirmationExpired--> expired --ConfirmationSettled--> reverted, or conflicted
 *
 * Whichever of the first two is recorded first is how it ends. `expired` lasts as long as the version is being undone.
 */
export interface ConfirmationState extends JsonObject {
  readonly version: number;
  readonly state: 'confirmed' | 'expired' | 'reverted' | 'conflicted';
  /** ISO 8601. */
  readonly deadline: string;
}

/** A version whose time to be confirmed is known. */
export interface AwaitedVersion {
  readonly gateway: string;
  readonly version: number;
  readonly deadline: string;
}

const schemaVersion = 1;

export function rolloutStream(gateway: string): string {
  return `rollout/${gateway}`;
}

export function confirmationSubject(version: number): string {
  return `confirmation/${version}`;
}

/** Keeps a version. Nothing to do when it is confirmed. @throws DomainError conflict `confirmation_expired`. */
export const confirmVersion =
  ({ version, deadline }: AwaitedVersion, by: { readonly actor: string; readonly reason: string | null; readonly isOverdue: boolean }) =>
  (view: View): NewEvent[] => {
    const subject = confirmationSubject(version);
    const state = view.subject(subject).state as ConfirmationState | null;
    if (state?.state === 'confirmed') return [];
    if (state !== null || by.isOverdue) {
      const message = `The time to confirm version ${version} ended at ${deadline}; it is undone by itself. Make the change again if it is wanted.`;
      throw new DomainError('conflict', 'confirmation_expired', message, { extra: { deadline } });
    }
    const confirmed: ConfirmationState = { version, state: 'confirmed', deadline, confirmedBy: by.actor, reason: by.reason };
    return [{ type: 'VersionConfirmed', schemaVersion, subject, state: confirmed }];
  };

/** Ends the wait for a version; nothing to do when it has ended. */
export const expireConfirmation =
  ({ version, deadline }: AwaitedVersion) =>
  (view: View): NewEvent[] => {
    const subject = confirmationSubject(version);
    const expired: ConfirmationState = { version, state: 'expired', deadline };
    return view.subject(subject).state === null ? [{ type: 'ConfirmationExpired', schemaVersion, subject, state: expired }] : [];
  };

/** Says how an expired version was undone; nothing to do when that is said. */
export const settleExpired =
  ({ version, deadline }: AwaitedVersion, undone: { readonly revertVersion: number | null; readonly conflicts: readonly JsonObject[] }) =>
  (view: View): NewEvent[] => {
    const subject = confirmationSubject(version);
    if ((view.subject(subject).state as ConfirmationState | null)?.state !== 'expired') return [];
    const state = undone.conflicts.length === 0 ? 'reverted' : 'conflicted';
    const settled: ConfirmationState = { version, state, deadline, ...undone };
    return [{ type: 'ConfirmationSettled', schemaVersion, subject, state: settled }];
  };

/** The id of a step on this way: every worker derives the same, so that it is recorded once. */
export function confirmationCommandId(step: 'expire' | 'revert' | 'settle', { gateway, version }: AwaitedVersion): string {
  return derivedUuid(`confirmation\n${step}\n${gateway}\n${version}`);
}

import type { NewEvent, View } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';

import { type FreezeState, type PinState, pinSubject } from './promotion.js';
import type { Orderer } from './wave.js';

const schemaVersion = 1;

/** Leaves every target at what it should run now. Nothing to do when it is frozen: it stays frozen where it was. */
export const freezeGateway =
  (version: number, { by, reason }: Orderer) =>
  (view: View): NewEvent[] => {
    const state: FreezeState = { version, by, reason };
    return view.subject('freeze').state === null ? [{ type: 'GatewayFrozen', schemaVersion, subject: 'freeze', state }] : [];
  };

/** Lets versions go on. @throws DomainError conflict `gateway_not_frozen`. */
export const unfreezeGateway =
  () =>
  (view: View): NewEvent[] => {
    if (view.subject('freeze').state !== null) return [{ type: 'GatewayUnfrozen', schemaVersion, subject: 'freeze', state: null }];
    throw new DomainError('conflict', 'gateway_not_frozen', 'The gateway is not frozen.');
  };

/** What a pin is checked against. */
export interface PinFacts {
  readonly target: string;
  readonly version: number;
  readonly head: number;
  readonly isTarget: boolean;
}

/**
 * Keeps one target at a version. Nothing to do when it is pinned there.
 * @throws DomainError invalid `target_not_found`, `version_not_found`.
 */
export const pinTarget =
  ({ target, version, head, isTarget }: PinFacts, { by, reason }: Orderer) =>
  (view: View): NewEvent[] => {
    const subject = pinSubject(target);
    const before = view.subject(subject).state as PinState | null;
    if (!isTarget) throw invalid('/target', 'target_not_found', 'This gateway has no target of this name; GET targets lists them.');
    if (version < 1 || version > head)
      throw invalid('/version', 'version_not_found', `This gateway has no version ${version}; its newest is ${head}.`);
    if (before?.version === version) return [];
    const state: PinState = { target, version, by, reason };
    return [{ type: 'TargetPinned', schemaVersion, subject, state }];
  };

/** Lets a target run what the others do. @throws DomainError not_found `pin_not_found`. */
export const unpinTarget =
  (target: string) =>
  (view: View): NewEvent[] => {
    const subject = pinSubject(target);
    if (view.subject(subject).state !== null) return [{ type: 'TargetUnpinned', schemaVersion, subject, state: null }];
    throw new DomainError('not_found', 'pin_not_found', 'This target is not pinned; GET rollout lists the pins.');
  };

function invalid(pointer: string, code: string, message: string): DomainError {
  return new DomainError('invalid', code, message, { errors: [{ pointer, code, message }] });
}

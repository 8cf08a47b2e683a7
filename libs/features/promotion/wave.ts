import type { NewEvent, View } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';

import type { TrafficCounts, WaveCause, WaveState } from './promotion.js';

/**
 * What may be recorded next of a wave by itself:
 *
 *   (nothing, finished, resumed; halted with a newer head) --WaveStarted--> advancing, canary
 *   advancing --WaveProven--> advancing, watched --WaveAdvanced--> advancing, the next phase; or --WaveFinished--> finished
 *   advancing --WaveHalted--> halted
 */
export type WaveStep =
  | {
      readonly kind: 'start';
      readonly version: number;
      readonly from: number;
      readonly targets: readonly string[];
      readonly head: number;
      readonly baseline: TrafficCounts;
    }
  | { readonly kind: 'prove' }
  | {
      readonly kind: 'advance';
      readonly phase: WaveState['phase'];
      readonly targets: readonly string[] | null;
      readonly baseline: TrafficCounts;
    }
  | { readonly kind: 'finish' }
  | { readonly kind: 'halt'; readonly cause: WaveCause; readonly head: number };

const schemaVersion = 1;
const subject = 'wave';
export const noTraffic: TrafficCounts = { requests: 0, rq5xx: 0, noRoute: 0 };

/**
 * Records a step that was decided on the wave as it was at its own version `of`. Nothing when it has moved since, or the gateway is frozen: somebody else
 * was first, and what comes next is another decision.
 */
export const takeStep =
  (step: WaveStep, of: number) =>
  (view: View): NewEvent[] => {
    const record = view.subject(subject);
    if (record.version !== of || view.subject('freeze').state !== null) return [];
    const state = record.state as WaveState | null;
    if (step.kind === 'start') return [{ type: 'WaveStarted', schemaVersion, subject, state: begun(step) }];
    if (state?.state !== 'advancing') return [];
    const by = { by: 'system', reason: null };
    switch (step.kind) {
      case 'prove':
        return [{ type: 'WaveProven', schemaVersion, subject, state: { ...state, ...by, phaseSince: record.recordedAt } }];
      case 'advance': {
        const { phase, targets, baseline } = step;
        return [{ type: 'WaveAdvanced', schemaVersion, subject, state: { ...state, ...by, phase, targets, baseline, phaseSince: null } }];
      }
      case 'finish':
        return [{ type: 'WaveFinished', schemaVersion, subject, state: { ...state, ...by, state: 'finished', targets: null } }];
      case 'halt': {
        const { cause, head } = step;
        return [{ type: 'WaveHalted', schemaVersion, subject, state: { ...state, ...by, state: 'halted', cause, head } }];
      }
    }
  };

function begun({ version, from, targets, head, baseline }: Extract<WaveStep, { kind: 'start' }>): WaveState {
  return {
    version,
    from,
    state: 'advancing',
    phase: 'canary',
    targets,
    phaseSince: null,
    head,
    baseline,
    cause: null,
    by: 'system',
    reason: null,
  };
}

/** Who wants it, and why. */
export interface Orderer {
  readonly by: string;
  readonly reason: string;
}

/** Stops the wave that is under way: its targets go back. @throws DomainError conflict `rollout_not_under_way`. */
export const haltWave =
  (present: WaveState | null, head: number, { by, reason }: Orderer) =>
  (view: View): NewEvent[] => {
    const state = view.subject(subject).state as WaveState | null;
    if (state === null || present === null || state.state !== 'advancing')
      throw new DomainError(
        'conflict',
        'rollout_not_under_way',
        'No wave is under way, so there is nothing to halt; freeze stops what is to come.',
      );
    const cause: WaveCause = { code: 'by_hand', target: null, message: reason };
    return [{ type: 'WaveHalted', schemaVersion, subject, state: { ...state, state: 'halted', cause, head, by, reason } }];
  };

/** Lets waves go on after one was halted: the next begins with the head. @throws DomainError conflict `rollout_not_halted`. */
export const resumeWaves =
  ({ by, reason }: Orderer) =>
  (view: View): NewEvent[] => {
    const state = view.subject(subject).state as WaveState | null;
    if (state?.state === 'resumed') return [];
    if (state?.state !== 'halted')
      throw new DomainError(
        'conflict',
        'rollout_not_halted',
        'No wave is halted, so there is nothing to resume; GET rollout shows how it stands.',
      );
    return [{ type: 'WavesResumed', schemaVersion, subject, state: { ...state, state: 'resumed', by, reason } }];
  };

/** What a promotion is checked against. */
export interface PromotionFacts {
  readonly version: number;
  readonly released: number;
  readonly head: number;
  readonly isImmediate: boolean;
}

/**
 * Brings a version to every target at once, whatever wave is under way. Nothing to do when it is released.
 * @throws DomainError conflict `gateway_frozen`, `rollout_immediate`; invalid `version_not_found`, `version_not_newer`.
 */
export const promoteVersion =
  ({ version, released, head, isImmediate }: PromotionFacts, { by, reason }: Orderer) =>
  (view: View): NewEvent[] => {
    if (view.subject('freeze').state !== null)
      throw new DomainError('conflict', 'gateway_frozen', 'The gateway is frozen: nothing is promoted. Unfreeze it first.');
    if (isImmediate)
      throw new DomainError(
        'conflict',
        'rollout_immediate',
        'Versions of this gateway go to every target at once: there is nothing to promote.',
      );
    if (version > head) throw invalid('version_not_found', `This gateway has no version ${version}; its newest is ${head}.`);
    if (version < released) {
      const message = `Version ${released} is released, and ${version} is older: going back is a new version (rollback), or a pin of single targets.`;
      throw invalid('version_not_newer', message);
    }
    const before = view.subject(subject).state as WaveState | null;
    if (version === released && before?.state !== 'advancing') return [];
    const promoted: WaveState = {
      version,
      from: released,
      state: 'finished',
      phase: 'all',
      targets: null,
      phaseSince: null,
      head,
      baseline: noTraffic,
      cause: null,
      by,
      reason,
    };
    return [{ type: 'VersionPromoted', schemaVersion, subject, state: promoted }];
  };

function invalid(code: string, message: string): DomainError {
  return new DomainError('invalid', code, message, { errors: [{ pointer: '/version', code, message }] });
}

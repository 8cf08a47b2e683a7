import { describe, expect, test } from '@jest/globals';
import type { NewEvent, View } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';

import { confirmPush, endHold, holdPush } from './hold.js';
import { planOf, type Standing, switchesOf, wantedBy } from './promotion.js';
import { RolloutLog } from './rollout-log.fixture.js';
import { freezeGateway, pinTarget, unfreezeGateway, unpinTarget } from './switches.js';
import { haltWave, noTraffic, promoteVersion, resumeWaves, takeStep, type WaveStep } from './wave.js';

const orderer = { by: 'token/a', reason: 'because' };
const standing = (head: number, immediateVersion: number): Standing => ({ gateway: 'default', head, immediateVersion });
const start = (version: number, from: number, targets = ['a']): WaveStep => ({
  kind: 'start',
  version,
  from,
  targets,
  head: version,
  baseline: noTraffic,
});
const refusal = (log: RolloutLog, decide: (view: View) => readonly NewEvent[]) => {
  try {
    log.take(decide, 0);
    return undefined;
  } catch (error) {
    if (!(error instanceof DomainError)) throw error;
    return [error.kind, error.code];
  }
};
/** What `a`, of the first wave, and `z`, of the last, should run. */
const wanted = (log: RolloutLog, at: Standing) => {
  const plan = planOf(at, switchesOf(log.subjects()));
  return ['a', 'z'].map((name) => wantedBy(plan, name)).map(({ version, because }) => [version, because]);
};
const step = (log: RolloutLog, of: WaveStep) => log.take(takeStep(of, switchesOf(log.subjects()).wave.version), 0);

describe('what each target should run', () => {
  test('at once: the head; nothing newer than what was released otherwise', () => {
    const log = new RolloutLog();
    expect(wanted(log, standing(7, 7))).toEqual([
      ['head', 'immediate'],
      ['head', 'immediate'],
    ]);
    expect(wanted(log, standing(9, 6))).toEqual([
      [6, 'released'],
      [6, 'released'],
    ]);
  });

  test('a wave: its targets first, then all; back when it is halted; released when it is finished', () => {
    const log = new RolloutLog();
    step(log, start(9, 6));
    expect(wanted(log, standing(10, 6))).toEqual([
      [9, 'wave'],
      [6, 'released'],
    ]);
    step(log, { kind: 'prove' });
    step(log, { kind: 'advance', phase: 'all', targets: null, baseline: noTraffic });
    expect(wanted(log, standing(10, 6))).toEqual([
      [9, 'wave'],
      [9, 'wave'],
    ]);
    step(log, { kind: 'prove' });
    step(log, { kind: 'finish' });
    expect(wanted(log, standing(10, 6))).toEqual([
      [9, 'released'],
      [9, 'released'],
    ]);
    step(log, start(10, 9));
    step(log, { kind: 'halt', cause: { code: 'refused', target: 'a', message: 'no' }, head: 10 });
    expect(wanted(log, standing(10, 6))).toEqual([
      [9, 'released'],
      [9, 'released'],
    ]);
    expect(planOf(standing(10, 6), switchesOf(log.subjects())).base.record).toBe(
      'rollout/default version 7: the wave of version 10 was halted, back to 9: no',
    );
  });

  test('a wave that a version has overtaken which went out at once says nothing any more', () => {
    const log = new RolloutLog();
    step(log, start(9, 6));
    expect(wanted(log, standing(12, 12))[0]).toEqual(['head', 'immediate']);
    expect(wanted(log, standing(13, 12))).toEqual([
      [12, 'released'],
      [12, 'released'],
    ]);
  });

  test('a freeze leaves everything as it is: also a wave, and whatever the settings say meanwhile', () => {
    const log = new RolloutLog();
    step(log, start(9, 6));
    log.take(freezeGateway(6, orderer), 0);
    for (const at of [standing(10, 6), standing(11, 11), standing(14, 12)]) {
      expect(wanted(log, at)).toEqual([
        [9, 'wave'],
        [6, 'frozen'],
      ]);
    }
    log.take(unfreezeGateway(), 0);
    expect(wanted(log, standing(11, 11))[0]).toEqual(['head', 'immediate']);
  });

  test('a freeze of what goes out at once names the version; a wave of former days is not brought back by it', () => {
    const log = new RolloutLog();
    step(log, start(9, 6));
    log.take(freezeGateway(12, orderer), 0);
    expect(wanted(log, standing(15, 15))).toEqual([
      [12, 'frozen'],
      [12, 'frozen'],
    ]);
  });

  test('a pin counts more than anything', () => {
    const log = new RolloutLog();
    log.take(pinTarget({ target: 'a', version: 3, head: 9, isTarget: true }, orderer), 0);
    step(log, start(9, 6));
    log.take(freezeGateway(6, orderer), 0);
    expect(wanted(log, standing(9, 6))).toEqual([
      [3, 'pinned'],
      [6, 'frozen'],
    ]);
    expect(wantedBy(planOf(standing(9, 9), switchesOf(log.subjects())), 'a').record).toContain('a is pinned to version 3: because');
    log.take(unpinTarget('a'), 0);
    expect(wanted(log, standing(9, 6))[0]).toEqual([9, 'wave']);
  });
});

describe('steps of a wave', () => {
  test('one that was decided on a former state, or meets a freeze, is not recorded', () => {
    const log = new RolloutLog();
    expect(log.take(takeStep(start(9, 6), 0), 0)).toEqual(['WaveStarted']);
    expect(log.take(takeStep(start(9, 6), 0), 0)).toEqual([]);
    expect(log.take(takeStep({ kind: 'finish' }, 2), 0)).toEqual([]);
    log.take(freezeGateway(6, orderer), 0);
    expect(log.take(takeStep({ kind: 'prove' }, 1), 0)).toEqual([]);
  });

  test('only what is under way can be proven, advanced, finished or halted', () => {
    const log = new RolloutLog();
    expect(step(log, { kind: 'prove' })).toEqual([]);
    step(log, start(9, 6));
    step(log, { kind: 'finish' });
    expect(step(log, { kind: 'prove' })).toEqual([]);
    expect(step(log, { kind: 'halt', cause: { code: 'refused', target: null, message: '' }, head: 9 })).toEqual([]);
  });

  test('the watch begins when the proof is recorded, and remembers when the phase began', () => {
    const log = new RolloutLog();
    log.take(takeStep(start(9, 6), 0), 1_000);
    log.take(takeStep({ kind: 'prove' }, 1), 5_000);
    const { wave } = switchesOf(log.subjects());
    expect([wave.state?.phaseSince, wave.recordedAt]).toEqual(['1970-01-01T00:00:01.000Z', '1970-01-01T00:00:05.000Z']);
  });
});

describe('by hand', () => {
  test('halt, resume, promote', () => {
    const log = new RolloutLog();
    const facts = { version: 9, released: 6, head: 9, isImmediate: false };
    const present = () => switchesOf(log.subjects()).wave.state;
    expect(refusal(log, haltWave(present(), 9, orderer))).toEqual(['conflict', 'rollout_not_under_way']);
    expect(refusal(log, resumeWaves(orderer))).toEqual(['conflict', 'rollout_not_halted']);
    step(log, start(9, 6));
    expect(log.take(haltWave(present(), 9, orderer), 0)).toEqual(['WaveHalted']);
    expect(present()).toMatchObject({ state: 'halted', cause: { code: 'by_hand', message: 'because' }, by: 'token/a' });
    expect(log.take(resumeWaves(orderer), 0)).toEqual(['WavesResumed']);
    expect(log.take(resumeWaves(orderer), 0)).toEqual([]);
    expect(log.take(promoteVersion(facts, orderer), 0)).toEqual(['VersionPromoted']);
    expect(wanted(log, standing(9, 6))).toEqual([
      [9, 'released'],
      [9, 'released'],
    ]);
    expect(log.take(promoteVersion({ ...facts, released: 9 }, orderer), 0)).toEqual([]);
  });

  test('what cannot be promoted', () => {
    const log = new RolloutLog();
    const facts = { version: 9, released: 6, head: 9, isImmediate: false };
    expect(refusal(log, promoteVersion({ ...facts, isImmediate: true }, orderer))).toEqual(['conflict', 'rollout_immediate']);
    expect(refusal(log, promoteVersion({ ...facts, version: 10 }, orderer))).toEqual(['invalid', 'version_not_found']);
    expect(refusal(log, promoteVersion({ ...facts, version: 5 }, orderer))).toEqual(['invalid', 'version_not_newer']);
    log.take(freezeGateway(6, orderer), 0);
    expect(refusal(log, promoteVersion(facts, orderer))).toEqual(['conflict', 'gateway_frozen']);
  });

  test('freezes and pins', () => {
    const log = new RolloutLog();
    const pin = { target: 'a', version: 3, head: 9, isTarget: true };
    expect(refusal(log, unfreezeGateway())).toEqual(['conflict', 'gateway_not_frozen']);
    expect(log.take(freezeGateway(6, orderer), 0)).toEqual(['GatewayFrozen']);
    expect(log.take(freezeGateway(7, orderer), 0)).toEqual([]);
    expect(log.take(unfreezeGateway(), 0)).toEqual(['GatewayUnfrozen']);
    expect(log.take(pinTarget(pin, orderer), 0)).toEqual(['TargetPinned']);
    expect(log.take(pinTarget(pin, orderer), 0)).toEqual([]);
    expect(log.take(pinTarget({ ...pin, version: 4 }, orderer), 0)).toEqual(['TargetPinned']);
    expect(refusal(log, pinTarget({ ...pin, version: 10 }, orderer))).toEqual(['invalid', 'version_not_found']);
    expect(refusal(log, pinTarget({ ...pin, version: 0 }, orderer))).toEqual(['invalid', 'version_not_found']);
    expect(refusal(log, pinTarget({ ...pin, isTarget: false }, orderer))).toEqual(['invalid', 'target_not_found']);
    expect(log.take(unpinTarget('a'), 0)).toEqual(['TargetUnpinned']);
    expect(refusal(log, unpinTarget('a'))).toEqual(['not_found', 'pin_not_found']);
  });

  test('a held push is confirmed as it is, and not as it was', () => {
    const log = new RolloutLog();
    const shrink = (id: string) => ({ id, limitPercent: 30, losses: [{ kind: 'routes' as const, before: 20, lost: 12, names: ['a'] }] });
    expect(refusal(log, confirmPush(undefined, orderer))).toEqual(['conflict', 'nothing_held']);
    expect(log.take(holdPush(9, shrink('x')), 0)).toEqual(['PushHeld']);
    expect(log.take(holdPush(9, shrink('x')), 0)).toEqual([]);
    expect(log.take(holdPush(10, shrink('y')), 0)).toEqual(['PushHeld']);
    expect(refusal(log, confirmPush('x', orderer))).toEqual(['conflict', 'hold_changed']);
    expect(log.take(confirmPush('y', orderer), 0)).toEqual(['PushConfirmed']);
    expect(log.take(confirmPush(undefined, orderer), 0)).toEqual([]);
    expect(log.take(holdPush(10, shrink('y')), 0)).toEqual([]);
    expect(log.take(endHold('x'), 0)).toEqual([]);
    expect(log.take(endHold('y'), 0)).toEqual(['HoldEnded']);
  });
});

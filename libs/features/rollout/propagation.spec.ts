import { describe, expect, it } from '@jest/globals';

import type { WaveState } from '#features/promotion/promotion.js';
import { contentHash } from '#platform/kernel/digest.js';

import { propagationOf, type RolloutSight, type SetAsideSight, type TargetSight } from './propagation.js';

const target = (more: Partial<TargetSight> = {}): TargetSight => ({
  name: 'edge-1',
  kind: 'agent',
  away: false,
  appliedVersion: 0,
  provenVersion: 0,
  readOnly: null,
  failures: 0,
  ended: null,
  running: null,
  desired: { version: 9, because: 'immediate', record: '' },
  ...more,
});
const state = { service: 'usersvc' };
const aside = (fromVersion: number, digest = contentHash(state)): SetAsideSight => ({
  name: 'user',
  digest,
  code: 'envoy_refused',
  reason: 'bad route',
  fromVersion,
  state,
});
const sight = (
  targets: readonly TargetSight[],
  setAside: readonly SetAsideSight[] = [],
  more: Partial<RolloutSight> = {},
): RolloutSight => ({
  head: 9,
  targets,
  setAside,
  certificates: [],
  strategy: 'immediate',
  wave: null,
  hold: null,
  ...more,
});
const wave = (state: 'advancing' | 'halted', version: number): WaveState => ({
  ...{ version, from: 4, state, phase: 'canary', targets: ['edge-0'], phaseSince: null, head: version },
  ...{ baseline: { requests: 0, rq5xx: 0, noRoute: 0 }, by: 'system', reason: null },
  cause: state === 'halted' ? { code: 'refused', target: 'edge-0', message: 'bad route' } : null,
});
const desires = (version: number, because: TargetSight['desired']['because'] = 'released') => ({
  desired: { version, because, record: 'why' },
});
const failed = (version: number, more: Partial<NonNullable<TargetSight['ended']>> = {}) =>
  ({ version, state: 'failed', code: 'child_died', detail: 'it died', ageMs: 20, ...more }) as const;

describe('the propagation of a version', () => {
  it.each([
    ['nothing was pushed yet', target(), 'pending'],
    ['an older one is proven', target({ provenVersion: 4, ended: failed(4, { state: 'proven' }) }), 'pending'],
    ['it is proven', target({ provenVersion: 5 }), 'live'],
    ['a newer one is proven', target({ provenVersion: 7 }), 'superseded'],
    ['an Envoy without an agent has acknowledged it', target({ kind: 'envoy', appliedVersion: 5 }), 'acked'],
    ['an Envoy without an agent has acknowledged a newer one', target({ kind: 'envoy', appliedVersion: 6 }), 'acked'],
    ['an Envoy without an agent is not there yet', target({ kind: 'envoy', appliedVersion: 4 }), 'pending'],
    ['the target is away', target({ away: true }), 'away'],
    ['the target is away, but proved it before', target({ away: true, provenVersion: 5 }), 'away'],
    ['nothing may be pushed to the target', target({ readOnly: 'another lineage' }), 'refused'],
    ['its push failed', target({ ended: failed(5) }), 'refused'],
    ['the push of a newer one that holds it failed', target({ ended: failed(6) }), 'refused'],
    ['the push of an older one failed', target({ ended: failed(4) }), 'pending'],
    ['its push failed and is tried again', target({ ended: failed(5), running: 'retry' }), 'refused'],
    ['its push failed and another is under way', target({ ended: failed(5), running: 'change' }), 'pending'],
    ['Envoy has just refused it', target({ ended: failed(5, { state: 'refused', code: 'envoy_refused' }), failures: 1 }), 'pending'],
    ['Envoy refused it again', target({ ended: failed(5, { state: 'refused', code: 'envoy_refused' }), failures: 2 }), 'refused'],
    ['Envoy refused it long ago', target({ ended: failed(5, { state: 'refused', code: 'envoy_refused', ageMs: 20_000 }) }), 'refused'],
  ] as const)('%s', (_case, of, expected) => {
    expect(propagationOf(sight([of]), 5).targets[0]?.state).toBe(expected);
  });

  it('names the newer version that satisfies it', () => {
    expect(propagationOf(sight([target({ provenVersion: 7 })]), 5)).toMatchObject({
      state: 'live',
      satisfied: true,
      targets: [{ supersededBy: 7, desiredVersion: 9 }],
    });
  });

  it('is as far as its last target, and does not wait for those that are away', () => {
    const of = (...targets: TargetSight[]) => propagationOf(sight(targets), 5);
    const [live, pending, away] = [target({ provenVersion: 5 }), target(), target({ away: true })];
    expect(of(live, pending)).toMatchObject({ state: 'pending', satisfied: false });
    expect(of(live, away)).toMatchObject({ state: 'live', satisfied: true });
    expect(of(live, pending, target({ ended: failed(5) }))).toMatchObject({ state: 'refused', satisfied: false });
    expect(of(away)).toMatchObject({ state: 'no_targets', satisfied: true });
    expect(of()).toEqual({ version: 5, state: 'no_targets', satisfied: false, targets: [] });
  });

  it('is refused for a mapping of its own that is set aside', () => {
    expect(propagationOf(sight([target({ provenVersion: 5 })], [aside(5)]), 5)).toMatchObject({
      state: 'refused',
      satisfied: false,
      targets: [{ reason: { code: 'envoy_refused', message: 'mapping user: bad route' }, mappings: [{ name: 'user' }] }],
    });
  });

  it('is live beside an older mapping that is set aside, which is listed', () => {
    expect(propagationOf(sight([target({ provenVersion: 5 })], [aside(3)]), 5)).toMatchObject({
      state: 'live',
      targets: [{ reason: null, mappings: [{ name: 'user', code: 'envoy_refused', message: 'bad route' }] }],
    });
  });

  it('has nothing to do with what was set aside later, or with a state that is no longer there', () => {
    for (const row of [aside(6), aside(5, contentHash('another'))]) {
      expect(propagationOf(sight([target({ provenVersion: 5 })], [row]), 5)).toMatchObject({ state: 'live', targets: [{ mappings: [] }] });
    }
  });

  it.each([
    ['a later wave brings it', desires(4), { wave: wave('advancing', 6) }, 'in_wave', 'in_wave', 'pending'],
    ['the next wave brings it', desires(4), { strategy: 'waves' }, 'in_wave', 'awaits_wave', 'pending'],
    [
      'the wave under way does not have it yet',
      desires(4),
      { strategy: 'waves', wave: wave('advancing', 4) },
      'in_wave',
      'awaits_wave',
      'pending',
    ],
    ['its wave was halted', desires(4), { wave: wave('halted', 6) }, 'refused', 'rollout_halted', 'refused'],
    ['a wave before it was halted', desires(4), { strategy: 'waves', wave: wave('halted', 4) }, 'in_wave', 'awaits_wave', 'pending'],
    ['nobody has promoted it', desires(4), { strategy: 'manual' }, 'held', 'awaits_promotion', 'held'],
    ['the gateway is frozen', desires(4, 'frozen'), {}, 'frozen', 'gateway_frozen', 'held'],
    ['the target is pinned', desires(4, 'pinned'), {}, 'pinned', 'target_pinned', 'no_targets'],
    ['the target is pinned to a newer one', desires(6, 'pinned'), {}, 'pending', undefined, 'pending'],
    ['it is in the wave', desires(6, 'wave'), { wave: wave('advancing', 6) }, 'pending', undefined, 'pending'],
    ['it went out before the freeze', { ...desires(4, 'frozen'), provenVersion: 5 }, {}, 'live', undefined, 'live'],
  ] as const)('kept back: %s', (_case, of, more, state, code, whole) => {
    const found = propagationOf(sight([target(of)], [], more), 5);
    expect([found.targets[0]?.state, found.targets[0]?.reason?.code, found.state]).toEqual([state, code, whole]);
    expect(found.satisfied).toBe(whole === 'live' || whole === 'no_targets');
  });

  it('says what a held push would lose', () => {
    const losses = [{ kind: 'routes', before: 40, lost: 31, names: ['user'] }] as const;
    const hold = { id: 'h1', version: 9, state: 'held', limitPercent: 30, losses, by: 'system', reason: null } as const;
    const found = propagationOf(sight([target()], [], { hold }), 5);
    expect(found).toMatchObject({ state: 'held', targets: [{ state: 'held', reason: { code: 'push_held' } }] });
    expect(found.targets[0]?.reason?.message).toContain('31 of 40 routes');
    expect(propagationOf(sight([target()], [], { hold: { ...hold, state: 'confirmed' } }), 5).state).toBe('pending');
    expect(propagationOf(sight([target({ provenVersion: 5 })], [], { hold }), 5).state).toBe('live');
  });
});

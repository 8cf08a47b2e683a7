import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { defaultRollout, type RolloutPolicy } from '#features/gateway/rollout-policy.js';

import { planOf, type Standing, switchesOf, wantedBy } from './promotion.js';
import { RolloutLog } from './rollout-log.fixture.js';
import { freezeGateway, pinTarget } from './switches.js';
import { takeStep, type WaveStep } from './wave.js';
import { isCanary, nextWaveStep, type TargetSight, type WaveSight } from './wave-step.js';

const policy: RolloutPolicy = { ...defaultRollout, strategy: 'waves', canary: 'c', sharePercent: 50, soakS: 10, proofDeadlineS: 30 };
const standing: Standing = { gateway: 'default', head: 9, immediateVersion: 6 };
const target = (name: string, more: Partial<TargetSight> = {}): TargetSight => ({
  name,
  connected: true,
  lastSeenMs: 0,
  presentSinceMs: 0,
  provenVersion: 6,
  refused: null,
  traffic: [],
  ...more,
});
const four = (proven: Readonly<Record<string, number>> = {}) =>
  ['a', 'b', 'c', 'd'].map((name) => target(name, { provenVersion: proven[name] ?? 6 }));

/** One gateway whose waves go on as a spec says. */
class Waves {
  readonly log = new RolloutLog();

  /** What is to be recorded at a second, seen these targets. */
  next(atS: number, targets: readonly TargetSight[], more: Partial<WaveSight & { policy: RolloutPolicy; standing: Standing }> = {}) {
    const facts = { standing: more.standing ?? standing, switches: switchesOf(this.log.subjects()), policy: more.policy ?? policy };
    return nextWaveStep(facts, { nowMs: atS * 1_000, targets, aside: [], ...more });
  }

  take(step: WaveStep | undefined, atS: number): void {
    if (step !== undefined) this.log.take(takeStep(step, switchesOf(this.log.subjects()).wave.version), atS * 1_000);
  }

  /** The wave of version 9 with its canary, begun at second 0. */
  static begun(): Waves {
    const waves = new Waves();
    waves.take(waves.next(0, four()), 0);
    return waves;
  }

  /** The same, proven at second 1. */
  static proven(): Waves {
    const waves = Waves.begun();
    waves.take(waves.next(1, four({ c: 9 })), 1);
    return waves;
  }
}

describe('a wave begins', () => {
  test('with the canary that is named, or several by a pattern, or the first by name that is here', () => {
    const targetsOf = (canary: string | null, targets = four()) => {
      const step = new Waves().next(0, targets, { policy: { ...policy, canary } });
      return step?.kind === 'start' ? step.targets : undefined;
    };
    expect(targetsOf('c')).toEqual(['c']);
    expect(targetsOf('*')).toEqual(['a', 'b', 'c', 'd']);
    expect(targetsOf(null)).toEqual(['a']);
    expect(targetsOf('nobody')).toEqual(['a']);
    expect(targetsOf('c', [target('c', { connected: false }), target('d'), target('b')])).toEqual(['b']);
    expect(targetsOf('c', [target('c', { connected: false })])).toBeUndefined();
    expect(targetsOf('c', [])).toBeUndefined();
  });

  test('with the head, from what is released; not when that is the head, or versions go out otherwise', () => {
    expect(new Waves().next(0, four())).toMatchObject({ kind: 'start', version: 9, from: 6, head: 9 });
    expect(new Waves().next(0, four(), { standing: { ...standing, head: 6 } })).toBeUndefined();
    expect(new Waves().next(0, four(), { policy: { ...policy, strategy: 'manual' } })).toBeUndefined();
    expect(new Waves().next(0, four(), { policy: { ...policy, strategy: 'immediate' } })).toBeUndefined();
  });

  test('not in a frozen gateway, and not with a pinned target', () => {
    const waves = new Waves();
    waves.log.take(pinTarget({ target: 'c', version: 3, head: 9, isTarget: true }, { by: 'token/a', reason: 'old' }), 0);
    expect(waves.next(0, four())).toMatchObject({ targets: ['a'] });
    waves.log.take(freezeGateway(6, { by: 'token/a', reason: 'sale' }), 0);
    expect(waves.next(0, four())).toBeUndefined();
  });

  test('a canary is a name or a pattern', () => {
    const meant = (canary: string) => ['edge-1', 'edge-10', 'edge.1', 'xedge-1'].filter((name) => isCanary(canary, name));
    expect([meant('edge-1'), meant('edge-*'), meant('*1'), meant('edge.1')]).toEqual([
      ['edge-1'],
      ['edge-1', 'edge-10'],
      ['edge-1', 'edge.1', 'xedge-1'],
      ['edge.1'],
    ]);
  });
});

describe('a wave goes on', () => {
  test('canary, share, all: each proven, then watched', () => {
    const waves = Waves.begun();
    const proven: Record<string, number> = {};
    const seen: (string | undefined)[] = [];
    for (let s = 1; s <= 40; s++) {
      const plan = planOf(standing, switchesOf(waves.log.subjects()));
      const step = waves.next(s, four(proven));
      waves.take(step, s);
      if (step !== undefined) seen.push(`${s} ${step.kind}`);
      for (const { name } of four()) {
        const { version } = wantedBy(plan, name);
        if (version !== 'head') proven[name] = version;
      }
    }
    expect(seen).toEqual(['2 prove', '12 advance', '14 prove', '24 advance', '26 prove', '36 finish']);
    expect(waves.log.types).toEqual([
      'WaveStarted',
      'WaveProven',
      'WaveAdvanced',
      'WaveProven',
      'WaveAdvanced',
      'WaveProven',
      'WaveFinished',
    ]);
    expect(proven).toEqual({ a: 9, b: 9, c: 9, d: 9 });
  });

  test('the share counts the canaries, and is left out when it adds nobody or everybody', () => {
    const next = (sharePercent: number) => Waves.proven().next(11, four({ c: 9 }), { policy: { ...policy, sharePercent } });
    expect(next(50)).toMatchObject({ kind: 'advance', phase: 'share', targets: ['c', 'a'] });
    expect(next(75)).toMatchObject({ phase: 'share', targets: ['c', 'a', 'b'] });
    expect(next(25)).toMatchObject({ phase: 'all', targets: null });
    expect(next(100)).toMatchObject({ phase: 'all', targets: null });
  });

  test('one target alone finishes with its canary', () => {
    const waves = new Waves();
    const [one] = [target('a', { provenVersion: 9 })];
    waves.take(waves.next(0, [target('a')]), 0);
    waves.take(waves.next(1, [one]), 1);
    expect(waves.next(10, [one])).toBeUndefined();
    expect(waves.next(11, [one])).toEqual({ kind: 'finish' });
  });

  test('nothing newer is taken up before it has ended', () => {
    const newer = { standing: { ...standing, head: 12 } };
    expect(Waves.begun().next(5, four(), newer)).toBeUndefined();
    expect(Waves.proven().next(11, four({ c: 9 }), newer)).toMatchObject({ kind: 'advance' });
  });

  test('a shorter soak counts at once; a freeze stops it', () => {
    const waves = Waves.proven();
    expect(waves.next(2, four({ c: 9 }), { policy: { ...policy, soakS: 1 } })).toMatchObject({ kind: 'advance' });
    waves.log.take(freezeGateway(6, { by: 'token/a', reason: 'sale' }), 0);
    expect(waves.next(99, four({ c: 6 }))).toBeUndefined();
  });
});

describe('targets that are away', () => {
  const gone = (name: string, lastSeenMs = -1) => target(name, { connected: false, lastSeenMs });
  const others = four().filter(({ name }) => name !== 'c');

  test('never hang a wave: another takes the place of a canary that was gone before', () => {
    expect(Waves.begun().next(5, [...others, gone('c')])).toMatchObject({ kind: 'advance', phase: 'canary', targets: ['c', 'a'] });
    expect(Waves.begun().next(5, [gone('a'), gone('c')])).toBeUndefined();
  });

  test('are not waited for by the last phase', () => {
    const waves = Waves.proven();
    waves.take({ kind: 'advance', phase: 'all', targets: null, baseline: { requests: 0, rq5xx: 0, noRoute: 0 } }, 11);
    expect(waves.next(12, [target('a', { provenVersion: 9 }), target('c', { provenVersion: 9 }), gone('b', 3_000)])).toEqual({
      kind: 'prove',
    });
  });

  test('owe a proof when they went with the version', () => {
    const silent = [...others, gone('c', 2_000)];
    expect(Waves.begun().next(29, silent)).toBeUndefined();
    expect(Waves.begun().next(30, silent)).toMatchObject({ kind: 'halt', cause: { code: 'proof_missing', target: 'c' } });
  });

  test('have their whole time when they come back', () => {
    const waves = Waves.begun();
    const back = [...others, target('c', { presentSinceMs: 25_000 })];
    expect([waves.next(54, back), waves.next(55, back)?.kind]).toEqual([undefined, 'halt']);
  });
});

describe('a wave is halted', () => {
  const traffic = (...samples: readonly (readonly [atS: number, requests: number, rq5xx: number, noRoute: number])[]) =>
    samples.map(([atS, requests, rq5xx, noRoute]) => ({ at: atS * 1_000, requests, rq5xx, noRoute }));
  const canary = (more: Partial<TargetSight>) => [...four().filter(({ name }) => name !== 'c'), target('c', more)];
  const refused = (version: number, atMs: number) => ({ refused: { version, atMs, message: 'bad route' } });

  test.each([
    ['it is refused', Waves.begun, canary(refused(9, 500)), 'refused'],
    ['another version was refused', Waves.begun, canary(refused(6, 500)), undefined],
    ['it was refused before', Waves.begun, canary(refused(9, -1)), undefined],
    ['the proof is late', Waves.begun, canary({}), undefined],
    ['5xx rise', Waves.proven, canary({ provenVersion: 9, traffic: traffic([0, 100, 0, 0], [4, 180, 20, 0]) }), 'errors_rise'],
    [
      'no-route answers rise',
      Waves.proven,
      canary({ provenVersion: 9, traffic: traffic([0, 100, 0, 0], [4, 180, 0, 20]) }),
      'no_route_rise',
    ],
    ['a few 5xx', Waves.proven, canary({ provenVersion: 9, traffic: traffic([0, 100, 0, 0], [4, 104, 4, 0]) }), undefined],
    ['a small share', Waves.proven, canary({ provenVersion: 9, traffic: traffic([0, 100, 0, 0], [4, 1_100, 40, 0]) }), undefined],
    ['a target that is not in it', Waves.begun, [target('c'), target('d', refused(9, 500))], undefined],
  ])('or not: %s', (_case, waves, targets, code) => {
    const step = waves().next(5, targets);
    expect(step?.kind === 'halt' ? step.cause.code : undefined).toBe(code);
  });

  test('against what its targets answered before it', () => {
    const waves = new Waves();
    waves.take(waves.next(0, canary({ traffic: traffic([-60, 0, 0, 0], [-1, 1_000, 200, 0]) })), 0);
    const now = (rq5xx: number) => canary({ traffic: traffic([-1, 1_000, 200, 0], [4, 1_100, 200 + rq5xx, 0]) });
    expect(waves.next(5, now(24))).toBeUndefined();
    expect(waves.next(5, now(26))).toMatchObject({
      cause: { code: 'errors_rise', message: '26.0 % of 100 requests were answered with 5xx, 20.0 % before' },
    });
  });

  test('for a mapping of its own that Envoy refused, and for no other', () => {
    const aside = (fromVersion: number) => ({ aside: [{ mapping: 'user', fromVersion, reason: 'bad route' }] });
    expect(Waves.begun().next(5, four(), aside(8))).toMatchObject({ kind: 'halt', cause: { code: 'set_aside' } });
    expect(Waves.begun().next(5, four(), aside(6))).toBeUndefined();
    expect(Waves.begun().next(5, four(), aside(10))).toBeUndefined();
  });

  test('and what comes after it begins anew, what was there waits for somebody', () => {
    const waves = Waves.begun();
    const twelve = { standing: { ...standing, head: 12 } };
    waves.take(waves.next(5, canary(refused(9, 500)), twelve), 5);
    expect(waves.next(6, four(), twelve)).toBeUndefined();
    expect(waves.next(6, four(), { standing: { ...standing, head: 13 } })).toMatchObject({ kind: 'start', version: 13, from: 6 });
  });
});

/** What happens to a fleet between two looks. */
const happening = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('prove' as const), of: fc.nat(5) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom('go', 'come', 'refuse', 'change') as fc.Arbitrary<'go' | 'come' | 'refuse' | 'change'>,
      of: fc.nat(5),
    }),
  },
);

test('whatever happens, and however many workers look, one step follows another and everybody comes to the same plan', () => {
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 120 }), fc.nat(3), (happenings, lag) => {
      const log = new RolloutLog();
      const fleet = Array.from({ length: 6 }, (_, i) => ({ ...target(`t${i}`), traffic: [] }));
      let head = 9;
      let nowMs = 0;
      const sights: (() => void)[] = [];
      for (const { kind, of } of happenings) {
        nowMs += 4_000;
        const standingNow = { ...standing, head };
        const plan = planOf(standingNow, switchesOf(log.subjects()));
        const one = fleet[of];
        if (one === undefined) throw new Error('no such target');
        const { version } = wantedBy(plan, one.name);
        if (version === 'head') throw new Error('nothing goes out at once here');
        if (kind === 'change') head += 1;
        if (kind === 'go') Object.assign(one, { connected: false, lastSeenMs: nowMs });
        if (kind === 'come') Object.assign(one, { connected: true, presentSinceMs: nowMs });
        if (kind === 'prove' && one.connected) Object.assign(one, { provenVersion: version });
        if (kind === 'refuse' && one.connected) Object.assign(one, { refused: { version, atMs: nowMs, message: '' } });
        // Two workers decide on the same log, one of them a few rounds late; a third was started a moment ago and knows the log only.
        const facts = { standing: standingNow, switches: switchesOf(log.subjects()), policy };
        const sight = { nowMs, targets: fleet.map((each) => ({ ...each })), aside: [] };
        const step = nextWaveStep(facts, sight);
        expect(nextWaveStep({ ...facts, switches: switchesOf(log.subjects()) }, sight)).toEqual(step);
        const before = log.version;
        const record = () => {
          if (step !== undefined) log.take(takeStep(step, facts.switches.wave.version), nowMs);
        };
        record();
        sights.push(record);
        sights.at(-1 - lag)?.(); // the late one's step was decided on a former state: it changes nothing
        expect(log.version - before).toBeLessThanOrEqual(1);
        const state = switchesOf(log.subjects()).wave.state;
        if (state !== null) {
          expect(state.version).toBeGreaterThan(state.from);
          expect(state.version).toBeLessThanOrEqual(head);
          const versions = new Set(
            fleet.map(({ name }) => wantedBy(planOf({ ...standing, head }, switchesOf(log.subjects())), name).version),
          );
          expect(versions.size).toBeLessThanOrEqual(2); // never two waves at once
        }
      }
      expect(log.types[0] ?? 'WaveStarted').toBe('WaveStarted');
      for (const [i, type] of log.types.entries())
        if (type === 'WaveFinished' || type === 'WaveAdvanced') expect(ranBefore(log.types, i)).toBe(true);
    }),
    { seed: 5, numRuns: 300 },
  );
});

/** A phase ends with the proof of it, unless another canary took the place of one that is away. */
function ranBefore(types: readonly string[], at: number): boolean {
  const before = types[at - 1];
  return before === 'WaveProven' || (types[at] === 'WaveAdvanced' && (before === 'WaveStarted' || before === 'WaveAdvanced'));
}

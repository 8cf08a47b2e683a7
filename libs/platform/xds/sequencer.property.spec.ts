import { describe, test } from '@jest/globals';
import fc from 'fast-check';

import type { AdsProtocol } from './envoy-session.js';
import { play, type Step, type Wish } from './sequencer-run.fixture.js';

const rev = fc.constantFrom('0', '1', '2');
const rarely = fc.integer({ min: 0, max: 9 }).map((n) => n === 0);
const names = (letter: string) => fc.constantFrom(...[0, 1, 2, 3].map((n) => `${letter}${n}`));
const wish: fc.Arbitrary<Wish> = fc.record({
  clusters: fc.dictionary(names('c'), fc.record({ rev, bad: rarely, mute: rarely })),
  endpoints: fc.dictionary(names('c'), fc.constantFrom('0', '1', '2', 'none')),
  scopes: fc.dictionary(names('s'), fc.record({ rev, bad: rarely, needs: fc.uniqueArray(names('c'), { maxLength: 3 }) })),
  filter: fc.record({ rev, bad: rarely }),
  listener: rev,
});
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('change' as const), wish }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('answer' as const), times: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.constantFrom(10, 300, 3_100, 6_000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reconnect' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('stale' as const), nonce: fc.constantFrom('0', '999', 'x') }) },
);

describe('whatever happens in whatever order, no request is lost on the way and Envoy ends with the set minus what it refused', () => {
  // A stream that begins with a stale answer would not be Envoy's: the reconnects of the state-of-the-world protocol are in sequencer.spec.ts.
  const cases: [AdsProtocol, boolean][] = [
    ['delta', false],
    ['delta', true],
    ['sotw', false],
    ['sotw', true],
  ];
  test.each(cases)('%s, warming is asked: %s', (protocol, asks) => {
    const kinds = protocol === 'sotw' ? step.filter(({ kind }) => kind !== 'reconnect') : step;
    const steps = fc.array(kinds, { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(fc.integer(), wish, steps, (seed, first, more) => {
        play(protocol, asks, seed, [{ kind: 'change', wish: first }, ...more]).check();
      }),
      { numRuns: 300 },
    );
  });
});

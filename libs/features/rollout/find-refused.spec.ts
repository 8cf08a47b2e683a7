import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { findRefused } from './find-refused.js';

const names = (count: number) => Array.from({ length: count }, (_, i) => `m${i}`);
/** An Envoy that refuses any configuration with one of these sets in it. */
const envoy = (...bad: string[][]) => {
  const judge = { trials: 0, accepts: async (tried: readonly string[]) => verdict(tried) };
  const verdict = (tried: readonly string[]) => {
    judge.trials += 1;
    const hit = bad.find((set) => set.every((name) => tried.includes(name)));
    return hit === undefined ? { ok: true, message: '' } : { ok: false, message: `no: ${hit.join('+')}` };
  };
  return judge;
};

describe('finding what Envoy refuses', () => {
  test('one in ten thousand takes a few trials, with its reason', async () => {
    const judge = envoy(['m7001']);
    expect(await findRefused(names(10_000), [], judge.accepts, { trials: 100 })).toEqual([{ name: 'm7001', reason: 'no: m7001' }]);
    expect(judge.trials).toBeLessThanOrEqual(18);
  });

  test('a name in the message is tried first', async () => {
    const judge = envoy(['m7001']);
    expect(await findRefused(names(10_000), ['m7001'], judge.accepts, { trials: 100 })).toEqual([{ name: 'm7001', reason: 'no: m7001' }]);
    expect(judge.trials).toBe(2);
  });

  test('an innocent name in the message is not blamed', async () => {
    expect(await findRefused(names(20), ['m3'], envoy(['m11']).accepts, { trials: 100 })).toEqual([{ name: 'm11', reason: 'no: m11' }]);
  });

  test('an innocent name in the message is not blamed because the words change without it', async () => {
    const accepts = async (tried: readonly string[]) => ({ ok: !tried.includes('m11'), message: `Routes[${tried.indexOf('m11')}]: no` });
    expect(await findRefused(names(20), ['m3', 'm11'], accepts, { trials: 100 })).toEqual([{ name: 'm11', reason: 'Routes[11]: no' }]);
  });

  test('two names in the message may both be to blame', async () => {
    const judge = envoy(['m3'], ['m11']);
    expect(await findRefused(names(20), ['m3', 'm11'], judge.accepts, { trials: 10 })).toEqual([
      { name: 'm3', reason: 'no: m3' },
      { name: 'm11', reason: 'no: m11' },
    ]);
  });

  test('of two that are only refused together, the later one is found', async () => {
    expect(await findRefused(names(20), [], envoy(['m3', 'm15']).accepts, { trials: 100 })).toEqual([
      { name: 'm15', reason: 'no: m3+m15' },
    ]);
  });

  test('what is refused even without any mapping is nobody else’s fault', async () => {
    const accepts = async () => ({ ok: false, message: 'the listener' });
    expect(await findRefused(names(20), [], accepts, { trials: 100 })).toBeUndefined();
  });

  test('a spent budget says nothing', async () => {
    expect(await findRefused(names(1_000), [], envoy(['m1'], ['m2'], ['m3']).accepts, { trials: 10 })).toBeUndefined();
  });

  test('whatever is refused: the rest passes, and each one found made the difference', async () => {
    const sets = fc.uniqueArray(fc.uniqueArray(fc.integer({ min: 0, max: 39 }), { minLength: 1, maxLength: 3 }), { maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(sets, async (numbers) => {
        const judge = envoy(...numbers.map((set) => set.map((n) => `m${n}`)));
        const found = (await findRefused(names(40), [], judge.accepts, { trials: 1_000 }))?.map(({ name }) => name) ?? ['nothing'];
        const rest = names(40).filter((name) => !found.includes(name));
        expect((await judge.accepts(rest)).ok).toBe(true);
        for (const name of found)
          expect((await judge.accepts(names(40).filter((other) => rest.includes(other) || other === name))).ok).toBe(false);
      }),
    );
  });
});

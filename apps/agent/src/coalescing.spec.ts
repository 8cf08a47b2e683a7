import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { mayApply, mayGate, type Situation } from './coalescing.js';

const at = (part: Partial<Situation>): Situation => ({
  now: 10_000,
  arrivedAt: null,
  gatingSince: null,
  ready: false,
  busy: false,
  windowEndsAt: null,
  ...part,
});

describe('the gate', () => {
  it.each<[string, boolean, Partial<Situation>]>([
    ['takes a change at once when nothing runs', true, { arrivedAt: 10_000 }],
    ['has nothing to do when nothing waits', false, {}],
    ['takes one at a time', false, { arrivedAt: 1, gatingSince: 9000 }],
    ['does not run beside a restart or a proof', false, { arrivedAt: 1, busy: true }],
    ['lets a release that is ready go first', false, { arrivedAt: 1, ready: true }],
    ['waits for quiet while a parent drains', false, { arrivedAt: 9900, windowEndsAt: 20_000 }],
    ['takes the newest after quiet, so that a refusal is told before the window ends', true, { arrivedAt: 9700, windowEndsAt: 20_000 }],
    ['does not wait for quiet when the window is about to end', true, { arrivedAt: 9999, windowEndsAt: 11_000 }],
    ['replaces a release that is ready while a parent drains', true, { arrivedAt: 9000, ready: true, windowEndsAt: 20_000 }],
  ])('%s', (_what, expected, part) => {
    expect(mayGate(at(part))).toBe(expected);
  });
});

describe('Envoy', () => {
  it.each<[string, boolean, Partial<Situation>]>([
    ['is given what is ready when nothing drains', true, { ready: true }],
    ['is left alone when nothing is ready', false, {}],
    ['is never restarted while a parent drains', false, { ready: true, windowEndsAt: 1 }],
    ['waits a little for the newer one in the gate', false, { ready: true, gatingSince: 9000 }],
    ['does not wait long for it', true, { ready: true, gatingSince: 7000 }],
    ['is given one thing at a time', false, { ready: true, busy: true }],
  ])('%s', (_what, expected, part) => {
    expect(mayApply(at(part))).toBe(expected);
  });
});

describe('the two lanes', () => {
  const situation = fc.record<Situation>({
    now: fc.integer({ min: 0, max: 100_000 }),
    arrivedAt: fc.option(fc.integer({ min: 0, max: 100_000 })),
    gatingSince: fc.option(fc.integer({ min: 0, max: 100_000 })),
    ready: fc.boolean(),
    busy: fc.boolean(),
    windowEndsAt: fc.option(fc.integer({ min: 0, max: 100_000 })),
  });

  it('never both wait for ever: with work and nothing under way one of them goes on, at the latest when the window has ended', () => {
    fc.assert(
      fc.property(situation, (some) => {
        const idle = { ...some, busy: false, gatingSince: null, windowEndsAt: null };
        if (!idle.ready && idle.arrivedAt === null) return;
        if (!mayGate(idle) && !mayApply(idle)) throw new Error('both wait');
        if (mayGate(idle) && mayApply(idle)) throw new Error('both go: the gate would slow the restart');
      }),
    );
  });
});

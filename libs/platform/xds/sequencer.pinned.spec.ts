import { describe, expect, test } from '@jest/globals';

import type { Content } from './envoy-model.fixture.js';
import type { AdsProtocol } from './envoy-session.js';
import { play, type Step, type Wish } from './sequencer-run.fixture.js';

/* What sequencer.property.spec.ts has found, one small case each. */

const change = (wish: Partial<Wish>): Step => ({
  kind: 'change',
  wish: { clusters: {}, endpoints: {}, scopes: {}, filter: { rev: '0', bad: false }, listener: '0', ...wish },
});
const answer = (times: number): Step => ({ kind: 'answer', times });
const wait = (ms: number): Step => ({ kind: 'wait', ms });
const reconnect: Step = { kind: 'reconnect' };
const cluster = (more: Partial<Content> = {}): Content => ({ rev: '0', bad: false, mute: false, ...more });
const scope = (more: { rev?: string; bad?: boolean; needs?: string[] } = {}) => ({ rev: '0', bad: false, needs: [], ...more });
const refused = { rev: '0', bad: true };

/** The seed chooses what the model takes of a refused response, and what it says of it. */
const cases: { title: string; protocol: AdsProtocol; asks: boolean; seed?: number; steps: Step[] }[] = [
  {
    title: 'endpoints that went and came back while their cluster changed are sent again, though Envoy has acknowledged the same',
    protocol: 'sotw',
    asks: true,
    steps: [
      change({ clusters: { c0: cluster() }, scopes: { s0: scope({ bad: true }) }, filter: refused }),
      answer(5),
      change({ clusters: { c0: cluster() }, endpoints: { c0: '1' }, filter: refused }),
      answer(4),
      change({ clusters: { c0: cluster({ rev: '2' }) }, endpoints: { c0: 'none' }, filter: refused }),
      change({ clusters: { c0: cluster({ mute: true }), c2: cluster({ mute: true }) }, endpoints: { c0: '1' }, filter: refused }),
    ],
  },
  {
    title: 'a cluster of a refused response that went and came back is sent again: Envoy may have another of it',
    protocol: 'delta',
    asks: false,
    steps: [
      change({ clusters: { c1: cluster({ rev: '2' }) }, filter: refused }),
      answer(4),
      change({ clusters: { c1: cluster(), c0: cluster({ bad: true }) }, filter: refused }),
      answer(6),
      change({ filter: refused }),
      answer(2),
      change({ clusters: { c1: cluster({ rev: '2' }) }, filter: refused }),
    ],
  },
  {
    title: 'scopes stay until an Envoy that comes back has said which filter it has',
    protocol: 'delta',
    asks: true,
    steps: [change({ scopes: { s0: scope() } }), answer(7), reconnect, answer(3), change({}), wait(6_000), answer(1)],
  },
  {
    title: 'clusters stay until an Envoy that comes back has said which scopes it has',
    protocol: 'delta',
    asks: true,
    steps: [
      change({ clusters: { c1: cluster() } }),
      answer(10),
      change({ clusters: { c1: cluster() }, scopes: { s0: scope({ needs: ['c1'] }) } }),
      change({}),
      reconnect,
      answer(1),
      wait(6_000),
    ],
  },
  {
    title: 'scopes to a cluster that does not serve yet are repeated while the culprit is looked for',
    protocol: 'sotw',
    asks: true,
    seed: -30_414_559,
    steps: [
      change({ clusters: { c3: cluster({ mute: true }) }, scopes: { s3: scope({ needs: ['c3'] }) } }),
      answer(3),
      wait(3_100),
      change({ scopes: { s3: scope(), s0: scope({ bad: true }) } }),
      answer(4),
      change({ scopes: { s0: scope() } }),
      answer(1),
      change({}),
    ],
  },
  {
    title: 'a changed cluster whose endpoints were lost with the stream takes those of before',
    protocol: 'delta',
    asks: false,
    steps: [
      change({ clusters: { c0: cluster() } }),
      answer(1),
      wait(6_000),
      answer(4),
      change({ clusters: { c0: cluster({ rev: '1' }) } }),
      reconnect,
    ],
  },
  {
    title: 'a cluster that went, came back and was refused does not pass for the one before',
    protocol: 'delta',
    asks: true,
    steps: [
      change({}),
      change({ clusters: { c0: cluster({ mute: true }) } }),
      answer(1),
      change({}),
      wait(6_000),
      wait(3_100),
      change({ clusters: { c0: cluster({ bad: true }) }, scopes: { s0: scope({ needs: ['c0'] }) } }),
      answer(1),
    ],
  },
  {
    title: 'endpoints that Envoy does not ask for any more prove no cluster',
    protocol: 'delta',
    asks: false,
    steps: [
      change({}),
      change({ clusters: { c0: cluster({ mute: true }) } }),
      answer(1),
      change({}),
      answer(3),
      wait(3_100),
      wait(6_000),
      change({ clusters: { c0: cluster({ bad: true }), c1: cluster({ mute: true }) }, scopes: { s0: scope({ needs: ['c0'] }) } }),
    ],
  },
  {
    title: 'a scope that Envoy took of a refused response is not counted on',
    protocol: 'delta',
    asks: true,
    steps: [
      change({}),
      answer(5),
      change({ scopes: { s0: scope(), s3: scope(), s2: scope(), s1: scope({ bad: true }) }, filter: refused }),
      answer(2),
      change({
        clusters: { c0: cluster({ bad: true }) },
        scopes: { s2: scope({ bad: true, needs: ['c0'] }) },
        filter: refused,
      }),
      wait(10),
    ],
  },
];

describe('no request is lost on the way and Envoy ends with the set minus what it refused', () => {
  test.each(cases)('$title ($protocol)', ({ protocol, asks, seed = 0, steps }) => {
    expect.hasAssertions();
    play(protocol, asks, seed, steps).check();
  });
});

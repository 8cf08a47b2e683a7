import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { DeltaSubscription } from './delta-subscription.js';
import type { DeltaDiscoveryRequest } from './generated/discovery.js';
import type { EncodedResource } from './resource.js';

const resource = (name: string, version: string): EncodedResource => ({ name, version, bytes: Buffer.alloc(0) });
const set = (...pairs: [string, string][]) => new Map(pairs.map(([name, version]) => [name, resource(name, version)]));
const request = (more: Partial<DeltaDiscoveryRequest> = {}): DeltaDiscoveryRequest => ({
  node: undefined,
  typeUrl: 't',
  resourceNamesSubscribe: [],
  resourceNamesUnsubscribe: [],
  initialResourceVersions: {},
  responseNonce: '',
  errorDetail: undefined,
  ...more,
});
const subscribed = (initial: Record<string, string> = {}) => {
  const subscription = new DeltaSubscription();
  subscription.receive(request({ resourceNamesSubscribe: ['*'], initialResourceVersions: initial }));
  return subscription;
};
const sent = (push: ReturnType<DeltaSubscription['next']>) => push?.resources.map(({ name, version }) => `${name}@${version}`);

describe('one type on one stream', () => {
  test('nothing is sent before it is asked for, and nothing removed before something is wanted', () => {
    const silent = new DeltaSubscription();
    silent.want(set(['a', '1']));
    expect(silent.next()).toBeUndefined();
    expect(subscribed({ a: '1' }).next()).toBeUndefined();
  });

  test('only what changed is sent, and what is gone is removed', () => {
    const subscription = subscribed({ a: '1', b: '1', c: '1' });
    subscription.want(set(['a', '1'], ['b', '2'], ['d', '1']));
    const push = subscription.next();
    expect(sent(push)).toEqual(['b@2', 'd@1']);
    expect(push?.removed).toEqual(['c']);
  });

  test('one push is in flight; what was superseded meanwhile is never sent', () => {
    const subscription = subscribed();
    subscription.want(set(['a', '1']));
    const first = subscription.next();
    subscription.want(set(['a', '2']));
    expect(subscription.next()).toBeUndefined();
    subscription.want(set(['a', '3']));
    expect(subscription.receive(request({ responseNonce: first?.nonce ?? '' }))).toEqual({ kind: 'acked' });
    expect(sent(subscription.next())).toEqual(['a@3']);
  });

  test('a refused version is not sent again until another is wanted', () => {
    const subscription = subscribed({ a: '1' });
    subscription.want(set(['a', '2']));
    const push = subscription.next();
    const refusal = request({ responseNonce: push?.nonce ?? '', errorDetail: { code: 3, message: 'no' } });
    expect(subscription.receive(refusal)).toEqual({ kind: 'refused', message: 'no' });
    expect(subscription.next()).toBeUndefined();
    subscription.want(set(['a', '3']));
    expect(sent(subscription.next())).toEqual(['a@3']);
  });

  test('an answer to an older push changes nothing', () => {
    const subscription = subscribed();
    subscription.want(set(['a', '1']));
    subscription.next();
    expect(subscription.receive(request({ responseNonce: '77' }))).toEqual({ kind: 'stale' });
    expect(subscription.awaitingAnswer).toBe(true);
  });

  test('without a wildcard only named resources are sent', () => {
    const subscription = new DeltaSubscription();
    subscription.receive(request({ resourceNamesSubscribe: ['b'] }));
    subscription.want(set(['a', '1'], ['b', '1']));
    expect(sent(subscription.next())).toEqual(['b@1']);
  });

  test('however pushes and answers interleave, the other side ends with what is wanted', () => {
    const wish = fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.constantFrom('1', '2', '3'));
    fc.assert(
      fc.property(fc.array(fc.record({ wish, answers: fc.boolean() }), { minLength: 1 }), wish, (steps, initial) => {
        const held = new Map<string, string>(Object.entries(initial));
        const subscription = subscribed(initial);
        let open: string | undefined;
        const pump = () => {
          const push = subscription.next();
          if (push === undefined) return;
          expect(open).toBeUndefined();
          open = push.nonce;
          for (const { name, version } of push.resources) held.set(name, version);
          for (const name of push.removed) held.delete(name);
        };
        const answer = () => {
          if (open !== undefined) subscription.receive(request({ responseNonce: open }));
          open = undefined;
        };
        for (const step of steps) {
          subscription.want(set(...Object.entries(step.wish)));
          pump();
          if (step.answers) answer();
          pump();
        }
        for (let i = 0; i < 3; i++) {
          answer();
          pump();
        }
        answer();
        expect(subscription.settled).toBe(true);
        expect(Object.fromEntries(held)).toEqual(steps.at(-1)?.wish);
      }),
    );
  });
});

import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';

import type { Wake } from '#platform/eventstore/wake.js';

import { gatherWakes } from './gathered-wake.js';

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

/** A wake that is told by hand. */
function handWake() {
  let tell: (stream: string | undefined) => void = () => undefined;
  const state = { closed: false };
  const wake: Wake = {
    subscribe(onWake) {
      tell = onWake;
      return () => {
        tell = () => undefined;
      };
    },
    close: async () => {
      state.closed = true;
    },
  };
  return { wake, state, tell: (stream: string | undefined) => tell(stream) };
}

test('each stream that moved is told once, to everybody, a little later', () => {
  const { wake, tell } = handWake();
  const gathered = gatherWakes(wake);
  const told: [string, string | undefined][] = [];
  gathered.subscribe((stream) => told.push(['a', stream]));
  const leave = gathered.subscribe((stream) => told.push(['b', stream]));
  for (const stream of ['gateway/x', 'gateway/y', 'gateway/x', undefined]) tell(stream);
  expect(told).toEqual([]);
  jest.runAllTimers();
  expect(told.map(([, stream]) => stream)).toEqual(['gateway/x', 'gateway/x', 'gateway/y', 'gateway/y', undefined, undefined]);
  leave();
  tell('gateway/x');
  jest.runAllTimers();
  expect(told.slice(6)).toEqual([['a', 'gateway/x']]);
});

test('what moves while others are told is told the next time', () => {
  const { wake, tell } = handWake();
  const gathered = gatherWakes(wake);
  const told: (string | undefined)[] = [];
  gathered.subscribe((stream) => {
    told.push(stream);
    if (told.length === 1) tell('again');
  });
  tell('first');
  jest.runAllTimers();
  expect(told).toEqual(['first', 'again']);
});

test('nothing is told after the end', async () => {
  const { wake, state, tell } = handWake();
  const gathered = gatherWakes(wake);
  const told: (string | undefined)[] = [];
  gathered.subscribe((stream) => told.push(stream));
  tell('gateway/x');
  await gathered.close();
  jest.runAllTimers();
  expect([told, state.closed]).toEqual([[], true]);
});

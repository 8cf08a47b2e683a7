import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';

import { DnsNames } from './dns-names.js';

const settle = async () => {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
};

describe('names in DNS', () => {
  let asked: number;
  let ttlS: number | undefined;
  let names: DnsNames;
  beforeEach(() => {
    jest.useFakeTimers();
    asked = 0;
    names = new DnsNames({
      onChange: () => undefined,
      refreshMs: 5_000,
      lookup: async () => {
        asked += 1;
        return ['10.0.0.1'];
      },
      ttl: async () => ttlS,
    });
    names.start();
  });
  afterEach(() => {
    names.stop();
    jest.useRealTimers();
  });

  /** How often a name is asked for in a minute after the first answer. */
  async function inAMinute(): Promise<number> {
    names.want('web.example');
    await settle();
    const before = asked;
    for (let step = 0; step < 240; step++) {
      jest.advanceTimersByTime(250);
      await settle();
    }
    return asked - before;
  }

  test.each([
    [20, 2, 3],
    [3_600, 0, 1],
    [0, 40, 60],
  ])('with a lifetime of %i s', async (ttl, least, most) => {
    ttlS = ttl;
    const times = await inAMinute();
    expect(times).toBeGreaterThanOrEqual(least);
    expect(times).toBeLessThanOrEqual(most);
  });

  test('without one, each few seconds', async () => {
    ttlS = undefined;
    const times = await inAMinute();
    expect(times).toBeGreaterThanOrEqual(9);
    expect(times).toBeLessThanOrEqual(16);
  });

  test('that nobody wants any more are asked for no more', async () => {
    ttlS = 1;
    names.want('web.example');
    await settle();
    names.unwant('web.example');
    jest.advanceTimersByTime(60_000);
    await settle();
    expect(asked).toBe(1);
    expect(names.answer('web.example')).toBeUndefined();
  });
});

describe('names whose server is mute', () => {
  test('keep neither names that are answered nor new ones waiting, however many they are', async () => {
    jest.useFakeTimers();
    const asked: string[] = [];
    const names = new DnsNames({
      onChange: () => undefined,
      refreshMs: 1_000,
      // As getaddrinfo does by default: two servers' worth of five seconds, and then it gives up.
      lookup: (name) => {
        asked.push(name);
        return name.startsWith('mute')
          ? new Promise((_, reject) => setTimeout(() => reject(Object.assign(new Error('again'), { code: 'EAI_AGAIN' })), 10_000))
          : Promise.resolve(['10.0.0.1']);
      },
    });
    const pass = async (ms: number) => {
      for (let step = 0; step < ms / 250; step++) {
        jest.advanceTimersByTime(250);
        await settle();
      }
    };
    names.start();
    names.want('good.example');
    await settle();
    for (let i = 0; i < 10; i++) names.want(`mute${i}.example`);
    await pass(60_000);
    expect(asked.filter((name) => name === 'good.example').length).toBeGreaterThan(40);
    expect(new Set(asked.filter((name) => name.startsWith('mute'))).size).toBe(10);
    names.want('new.example');
    await pass(60_000);
    expect(names.answer('new.example')).toEqual({ addresses: ['10.0.0.1'], error: '' });
    names.stop();
    jest.useRealTimers();
  });
});

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

import { describe, expect, it } from '@jest/globals';
import { planRecovery } from './recovery-plan.js';

const config = (key: string) => ({ key, drainTimeS: 1, parentShutdownTimeS: 2 });
const candidates = [config('new'), config('old'), config('older')];
const crashes = (key: string, ...times: number[]) => times.map((at) => ({ key, at }));
const order = (plan: ReturnType<typeof planRecovery>) => plan.candidates.map(({ key }) => key);

describe('what is started after a death', () => {
  it('is the same again, at once, after the first', () => {
    const plan = planRecovery(crashes('new', 1000), candidates, 1000);
    expect(plan.delayMs).toBe(0);
    expect(order(plan)).toEqual(['new', 'old', 'older']);
  });

  it('waits longer after each, to a limit', () => {
    const delays = [2, 3, 4, 8, 30].map(
      (count) => planRecovery(crashes('x', ...Array.from({ length: count }, () => 1000)), candidates, 1000).delayMs,
    );
    expect(delays).toEqual([100, 200, 400, 6400, 10_000]);
  });

  it('is an older one when the newest has died three times, and the newest last', () => {
    expect(order(planRecovery(crashes('new', 1, 2, 3), candidates, 10))).toEqual(['old', 'older', 'new']);
  });

  it('forgets what is long ago', () => {
    const plan = planRecovery([...crashes('new', 1, 2, 3), ...crashes('new', 100_000)], candidates, 100_000);
    expect(plan.delayMs).toBe(0);
    expect(order(plan)).toEqual(['new', 'old', 'older']);
  });

  it('never leaves nothing to start', () => {
    const all = candidates.flatMap(({ key }) => crashes(key, 1, 2, 3));
    expect(order(planRecovery(all, candidates, 10))).toEqual(['new', 'old', 'older']);
  });
});

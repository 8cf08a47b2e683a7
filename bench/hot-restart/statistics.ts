import { fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

/** The ratio of the medians of two samples with its 95 % interval: 2,000 resamples of each, from a fixed seed. */
export function ratioOfMedians(a: readonly number[], b: readonly number[]): { ratio: number; low: number; high: number } {
  let seed = 42;
  const random = () => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return seed / 2_147_483_648;
  };
  const resample = (values: readonly number[]) => values.map(() => values[Math.floor(random() * values.length)] ?? 0);
  const ratios = Array.from({ length: 2000 }, () => median(resample(a)) / median(resample(b)));
  return { ratio: median(a) / median(b), low: quantile(ratios, 0.025), high: quantile(ratios, 0.975) };
}

/** How fast this machine is just now, milliseconds: a spin loop and an fsync. A block that differs much from the others is not counted. */
export function calibrate(): number {
  const startedAt = performance.now();
  let sum = 0;
  for (let n = 0; n < 5_000_000; n++) sum += n % 7;
  const path = join(tmpdir(), `chancery-calibrate-${process.pid}`);
  const fd = openSync(path, 'w');
  for (let n = 0; n < 5; n++) {
    writeSync(fd, String(sum));
    fsyncSync(fd);
  }
  rmSync(path);
  return performance.now() - startedAt;
}

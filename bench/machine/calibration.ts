import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';

import { median } from '../append/statistics.js';

/** What the machine gives at this moment, to nobody in particular. Milliseconds; `load` is the average of the last minute. */
export interface Calibration {
  readonly spinMs: number;
  readonly fdatasyncMs: number;
  readonly load: number;
}

export function calibrate(): Calibration {
  const spun = performance.now();
  let x = 0;
  for (let i = 0; i < 2e7; i++) x = (x * 31 + i) | 0;
  const spinMs = performance.now() - spun + (x === 42 ? 1 : 0);
  const folder = mkdtempSync(join(tmpdir(), 'chancery-calibration-'));
  const fd = openSync(join(folder, 'page'), 'w');
  const page = Buffer.alloc(8192);
  const syncs: number[] = [];
  for (let i = 0; i < 50; i++) {
    writeSync(fd, page, 0, page.length, 0);
    const began = performance.now();
    fdatasyncSync(fd);
    syncs.push(performance.now() - began);
  }
  closeSync(fd);
  rmSync(folder, { recursive: true, force: true });
  return { spinMs, fdatasyncMs: median(syncs), load: loadavg()[0] ?? 0 };
}

/** How much slower or faster than usual the machine may be for a block to count. */
const MOST_DRIFT = 1.5;

/** Lets a block begin when the machine is as it was for the others, and remembers what it was. */
export class SteadyMachine {
  readonly calibrations: Calibration[] = [];
  rejected = 0;

  /** Calibrates until the machine is as usual, ten times at most: then the block counts all the same, and `rejected` tells. */
  ready(): void {
    for (let attempt = 0; ; attempt++) {
      const now = calibrate();
      const usual = this.calibrations.length === 0 ? now.spinMs : median(this.calibrations.map(({ spinMs }) => spinMs));
      if (now.spinMs > MOST_DRIFT * usual && attempt < 10) {
        this.rejected += 1;
        continue;
      }
      this.calibrations.push(now);
      return;
    }
  }

  /** The limits in words, for the line above a table. */
  describe(): string {
    const of = (pick: (calibration: Calibration) => number) => median(this.calibrations.map(pick));
    return `limits: fdatasync ${of(({ fdatasyncMs }) => fdatasyncMs).toFixed(3)} ms, spin ${of(({ spinMs }) => spinMs).toFixed(1)} ms, load ${of(({ load }) => load).toFixed(1)}, blocks rejected ${this.rejected}`;
  }
}

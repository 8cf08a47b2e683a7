import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { HistoryWriter, readHistory } from './fault-history.js';
import { checkHistory } from './history-checker.js';
import type { Invariant } from './invariants.js';
import { type PlantedBug, plantedBugs, simulate } from './simulated-house.js';

const seeds = [1, 2, 3, 20_261_125];

describe('a house that keeps the invariants', () => {
  test.each(seeds)('has a history without a violation, seed %s', (seed) => {
    const { violations, checked } = checkHistory(simulate(seed));
    expect(violations).toEqual([]);
    // Nothing is right for want of facts.
    for (const [invariant, count] of Object.entries(checked)) expect([invariant, count > 0]).toEqual([invariant, true]);
  });

  test('an order of lines that is not that of time is no violation', () => {
    const history = simulate(7);
    expect(checkHistory([...history].reverse().sort((a, b) => a.t_mono - b.t_mono || history.indexOf(a) - history.indexOf(b)))).toEqual(
      checkHistory(history),
    );
  });
});

describe('a planted bug is found by the invariant that is meant for it', () => {
  test.each(Object.entries(plantedBugs) as [PlantedBug, Invariant][])('%s: %s', (bug, invariant) => {
    for (const seed of seeds) {
      const { violations } = checkHistory(simulate(seed, bug));
      expect({ seed, found: [...new Set(violations.map((one) => one.invariant))] }).toEqual({
        seed,
        found: expect.arrayContaining([invariant]),
      });
    }
  });

  test('there is one for each invariant, and 16 at least', () => {
    expect(Object.keys(plantedBugs).length).toBeGreaterThanOrEqual(16);
    expect([...new Set(Object.values(plantedBugs))].sort()).toEqual(['I13', 'I14', 'I15', 'I16', 'I6', 'I7', 'I8', 'I9']);
  });
});

test('an empty history has no violation, and says that nothing was checked', () => {
  const { violations, checked } = checkHistory([]);
  expect([violations, Object.values(checked).every((count) => count === 0)]).toEqual([[], true]);
});

test('a history is read as it was written', () => {
  const folder = mkdtempSync(join(tmpdir(), 'chancery-history-'));
  try {
    const file = join(folder, 'history.jsonl');
    const writer = new HistoryWriter(file);
    for (const record of simulate(1).slice(0, 200)) writer.add(record);
    expect(readHistory(file)).toEqual(writer.records);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

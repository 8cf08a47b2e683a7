import { execFileSync } from 'node:child_process';

import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';

import { lostCount } from '../load/load-client.js';
import { checkout } from '../support/dev-harness.js';

import { type Cell, cellsOf, type Delivery, livePoints, points, pointsElsewhere } from './cells.js';
import { type CellResult, HouseUnderFire } from './house-under-fire.js';
import { checkLog } from './log-invariants.js';

jest.setTimeout(180_000);

/** Once in every run; five times each (and the stopped ones too) by `npm run test:crash`. */
const repeats = Number(process.env.CHANCERY_CRASH_REPEATS ?? 1);
const actions = (process.env.CHANCERY_CRASH_ACTIONS ?? 'kill').split(',') as Cell['action'][];

it('knows every failpoint in the code', () => {
  const found = execFileSync('git', ['grep', '-ohE', "failpoint\\('[a-zA-Z.]+'\\)", '--', 'apps', 'libs', ':!*.spec.ts'], {
    cwd: checkout,
    encoding: 'utf8',
  });
  const inCode = [...found.matchAll(/'([a-zA-Z.]+)'/g)].map(([, name]) => name);
  const known = [...Object.values(points).flat(), ...Object.values(livePoints).flat(), ...pointsElsewhere];
  expect([...new Set(inCode)].sort()).toEqual([...new Set(known)].sort());
});

describe.each<Delivery>(['hot-restart', 'live'])('a gateway delivered by %s', (delivery) => {
  const results: CellResult[] = [];
  let house: HouseUnderFire;

  beforeAll(async () => {
    house = await HouseUnderFire.start(delivery);
  });
  afterAll(() => house?.dispose());

  const cells = actions.flatMap((action) => Array.from({ length: repeats }, () => cellsOf(action, delivery)).flat());
  it.each(cells)('$action: $victim at $point', async (cell) => {
    const result = await house.run(cell);
    results.push(result);
    expect({ reached: result.reached, wentBack: result.wentBack }).toEqual({ reached: true, wentBack: [] });
    // The only Envoy cannot be killed without its clients noticing; everything else can.
    if (cell.victim === 'envoy') expect(result.load.outcomes.ok).toBeGreaterThan(0);
    else
      expect({ lost: lostCount(result.load), outcomes: result.load.outcomes, first: result.load.lost.slice(0, 3) }).toMatchObject({
        lost: 0,
      });
    expect(result.convergedMs).toBeLessThan(60_000);
  });

  it('lost nothing that was acknowledged, doubled nothing, and folded everything', async () => {
    await house.quiesce();
    expect(await checkLog(house.database, house.writer.attempts)).toEqual([]);
    expect(house.writer.attempts.filter(({ outcome }) => outcome === 'accepted').length).toBeGreaterThan(results.length);
  });

  it('left everything running', async () => {
    const answer = await house.dev.api('/readyz?verbose');
    expect({ status: answer.status, text: answer.text }).toMatchObject({ status: 200 });
  });
});

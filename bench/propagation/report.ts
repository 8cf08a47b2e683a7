import { median, quantile, ratio } from '../append/statistics.js';
import type { Change, ChangeKind } from './detector.js';

export interface Sample extends Change {
  readonly contender: string;
  readonly routes: number;
  readonly block: number;
}

const kinds: readonly ChangeKind[] = ['create', 'update', 'delete'];
const OURS = 'chancery';

interface Goal {
  readonly against: string;
  readonly routes: (routes: number) => boolean;
  readonly words: string;
  readonly isReached: (ratio: number) => boolean;
}

/** Chancery's t_live over that of another, per size. */
const goals: readonly Goal[] = [
  { against: 'stub', routes: () => true, words: '<= 2.0', isReached: (ratio) => ratio <= 2 },
  { against: 'envoy-gateway', routes: (routes) => routes === 1000, words: '<= 1/10', isReached: (ratio) => ratio <= 0.1 },
  { against: 'envoy-gateway', routes: (routes) => routes === 10_000, words: '<= 1/20', isReached: (ratio) => ratio <= 0.05 },
];
const MOST_GROWTH = 3;
/** A 99th percentile of fewer says nothing. */
const ENOUGH_FOR_P99 = 1000;

export function reportSize(samples: readonly Sample[], routes: number): void {
  for (const kind of kinds) {
    console.log(
      `  ${kind.padEnd(26)} ${['t_ack', 't_live', 'p90', 'max', 't_stable'].map((word) => word.padStart(9)).join('')}  flaps   odd  chancery/this, t_live (95 %)`,
    );
    for (const contender of new Set(samples.map((sample) => sample.contender))) {
      const own = samples.filter((sample) => sample.kind === kind && sample.contender === contender);
      if (own.length > 0)
        reportRow(
          own,
          samples.filter((sample) => sample.kind === kind && sample.contender === OURS),
          routes,
        );
    }
  }
  const resolution = median(samples.map(({ resolutionMs }) => resolutionMs));
  console.log(`  milliseconds, medians; a probe each ${resolution.toFixed(2)} ms`);
}

function reportRow(own: readonly Sample[], ours: readonly Sample[], routes: number): void {
  const contender = own[0]?.contender ?? '';
  const live = own.map(({ liveMs }) => liveMs);
  const p99 = live.length >= ENOUGH_FOR_P99 ? `  p99 ${quantile(live, 0.99).toFixed(1)}` : '';
  const cells = [
    median(own.map(({ ackMs }) => ackMs)),
    median(live),
    quantile(live, 0.9),
    Math.max(...live),
    median(own.map(({ stableMs }) => stableMs)),
  ].map((value) => value.toFixed(2).padStart(9));
  const sum = (pick: (sample: Sample) => number) => String(own.reduce((total, sample) => total + pick(sample), 0)).padStart(6);
  const oddity = own.find(({ firstOdd }) => firstOdd !== undefined)?.firstOdd;
  console.log(
    `    ${contender.padEnd(24)} ${cells.join('')} ${sum(({ flaps }) => flaps)}${sum(({ odd }) => odd)}  ${comparison(own, ours, routes)}${p99}${oddity === undefined ? '' : `  (${oddity})`}`,
  );
}

/** Ours over theirs by the medians of the blocks that both have, with the goal where one was promised. */
function comparison(own: readonly Sample[], ours: readonly Sample[], routes: number): string {
  const contender = own[0]?.contender ?? '';
  if (contender === OURS || ours.length === 0) return '';
  const blocks = [...new Set(own.map(({ block }) => block))].filter((block) => ours.some((sample) => sample.block === block));
  const of = (samples: readonly Sample[]) =>
    blocks.map((block) => median(samples.filter((sample) => sample.block === block).map(({ liveMs }) => liveMs)));
  const against = ratio(of(ours), of(own));
  const goal = goals.find((each) => each.against === contender && each.routes(routes));
  const verdict = goal === undefined ? '' : `   goal ${goal.words}: ${goal.isReached(against.ratio) ? 'reached' : 'MISSED'}`;
  return `${against.ratio.toPrecision(3)} [${against.low.toPrecision(3)}, ${against.high.toPrecision(3)}]${verdict}`;
}

/** How much longer a change takes in the largest table than in the smallest. */
export function reportGrowth(samples: readonly Sample[], sizes: readonly number[]): void {
  const [least, most] = [Math.min(...sizes), Math.max(...sizes)];
  if (least === most) return;
  console.log(`\nt_live at ${most} routes over t_live at ${least}`);
  for (const contender of new Set(samples.map((sample) => sample.contender))) {
    const cells = kinds.map((kind) => {
      const at = (routes: number) =>
        samples.filter((sample) => sample.contender === contender && sample.kind === kind && sample.routes === routes);
      if (at(most).length === 0 || at(least).length === 0) return undefined;
      const blocks = [...new Set(at(most).map(({ block }) => block))].filter((block) => at(least).some((sample) => sample.block === block));
      const of = (routes: number) =>
        blocks.map((block) =>
          median(
            at(routes)
              .filter((sample) => sample.block === block)
              .map(({ liveMs }) => liveMs),
          ),
        );
      const { ratio: growth, low, high } = ratio(of(most), of(least));
      const verdict = contender === OURS ? ` (goal <= ${MOST_GROWTH}: ${growth <= MOST_GROWTH ? 'reached' : 'MISSED'})` : '';
      return `${kind} ${growth.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]${verdict}`;
    });
    if (cells.some((cell) => cell !== undefined)) console.log(`  ${contender.padEnd(26)} ${cells.filter(Boolean).join('   ')}`);
  }
}

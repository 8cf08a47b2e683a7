import type { TrafficCounts } from './promotion.js';

/** Sums of one target's answers since it was enrolled, as they stood at a moment. */
export interface TrafficSample extends TrafficCounts {
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** Samples are kept for ten minutes, one for each twenty seconds: the row of a target stays small, and a wave's window is long enough to judge by. */
const KEPT_MS = 600_000;
const APART_MS = 20_000;

/** The kept samples with the newest added; it takes the place of the last one until that is `APART_MS` after the one before. */
export function addTraffic(kept: readonly TrafficSample[], newest: TrafficSample): TrafficSample[] {
  const [lastButOne, last] = [kept.at(-2), kept.at(-1)];
  const replaces = last !== undefined && lastButOne !== undefined && last.at - lastButOne.at < APART_MS;
  return [...(replaces ? kept.slice(0, -1) : kept), newest].filter(({ at }) => at > newest.at - KEPT_MS);
}

/** What a target has answered so far, out of the counters of its Envoy by name (`http.ingress_http.downstream_rq_total`). */
export function trafficOf(counters: Iterable<{ readonly name: string; readonly value: number }>, atMs: number): TrafficSample {
  let [requests, rq5xx, noRoute] = [0, 0, 0];
  for (const { name, value } of counters) {
    if (!name.startsWith('http.ingress_')) continue;
    if (name.endsWith('.downstream_rq_total')) requests += value;
    if (name.endsWith('.downstream_rq_5xx')) rq5xx += value;
    if (name.endsWith('.no_route')) noRoute += value;
  }
  return { at: atMs, requests, rq5xx, noRoute };
}

/** The answers between two moments, from the last sample before the first of them on. A node that counted from zero again counts what it has. */
export function trafficBetween(samples: readonly TrafficSample[], fromMs: number, toMs: number): TrafficCounts {
  const first = samples.findLastIndex(({ at }) => at <= fromMs);
  const within = samples.slice(Math.max(0, first)).filter(({ at }) => at <= toMs);
  let [requests, rq5xx, noRoute] = [0, 0, 0];
  for (const [i, sample] of within.entries()) {
    const before = within[i - 1];
    if (before === undefined) continue;
    const grown = (key: 'requests' | 'rq5xx' | 'noRoute') => (sample[key] >= before[key] ? sample[key] - before[key] : sample[key]);
    requests += grown('requests');
    rq5xx += grown('rq5xx');
    noRoute += grown('noRoute');
  }
  return { requests, rq5xx, noRoute };
}

export function sumTraffic(counts: Iterable<TrafficCounts>): TrafficCounts {
  let [requests, rq5xx, noRoute] = [0, 0, 0];
  for (const one of counts) {
    requests += one.requests;
    rq5xx += one.rq5xx;
    noRoute += one.noRoute;
  }
  return { requests, rq5xx, noRoute };
}

/** Fewer bad answers than this are an accident, whatever share of the requests they are. */
const LEAST_BAD = 5;

/** In words, by how much a kind of answer has risen; undefined while that is within the limit (percentage points). */
export function riseOf(kind: 'rq5xx' | 'noRoute', now: TrafficCounts, before: TrafficCounts, limitPercent: number): string | undefined {
  const share = (counts: TrafficCounts) => (counts.requests === 0 ? 0 : (counts[kind] / counts.requests) * 100);
  if (now[kind] < LEAST_BAD || share(now) <= share(before) + limitPercent) return undefined;
  const what = kind === 'rq5xx' ? 'with 5xx' : 'with no route';
  return `${share(now).toFixed(1)} % of ${now.requests} requests were answered ${what}, ${share(before).toFixed(1)} % before`;
}

import { expect, test } from '@jest/globals';

import { addTraffic, riseOf, type TrafficSample, trafficBetween, trafficOf } from './traffic.js';

const sample = (atS: number, requests: number, rq5xx = 0): TrafficSample => ({ at: atS * 1_000, requests, rq5xx, noRoute: 0 });

test('samples are kept for ten minutes and twenty seconds apart, the newest always', () => {
  let kept: TrafficSample[] = [];
  for (let s = 0; s <= 3_600; s += 5) kept = addTraffic(kept, sample(s, s));
  expect(kept.length).toBeLessThanOrEqual(32);
  expect([kept[0]?.at, kept.at(-1)?.at]).toEqual([3_020_000, 3_600_000]);
  expect(trafficBetween(kept, 3_300_000, 3_600_000).requests).toBe(300);
});

test('a node that counts from zero again adds what it has', () => {
  const samples = [sample(0, 100), sample(20, 150), sample(40, 30), sample(60, 40)];
  expect(trafficBetween(samples, 0, 60_000)).toEqual({ requests: 90, rq5xx: 0, noRoute: 0 });
  expect(trafficBetween(samples, 30_000, 60_000).requests).toBe(40); // from the sample before on
  expect(trafficBetween([], 0, 60_000).requests).toBe(0);
});

test('a rise is of the share of requests, and of more than a handful', () => {
  const counts = (requests: number, rq5xx: number) => ({ requests, rq5xx, noRoute: 0 });
  expect(riseOf('rq5xx', counts(100, 5), counts(0, 0), 5)).toBeUndefined();
  expect(riseOf('rq5xx', counts(100, 6), counts(0, 0), 5)).toBe('6.0 % of 100 requests were answered with 5xx, 0.0 % before');
  expect(riseOf('rq5xx', counts(100, 6), counts(100, 2), 5)).toBeUndefined();
  expect(riseOf('rq5xx', counts(4, 4), counts(0, 0), 5)).toBeUndefined();
  expect(riseOf('noRoute', counts(100, 60), counts(0, 0), 5)).toBeUndefined();
});

test('of the counters only those of the traffic count, of both listeners', () => {
  const counters = {
    'http.ingress_http.downstream_rq_total': 5,
    'http.ingress_https.downstream_rq_total': 7,
    'http.admin.downstream_rq_total': 9,
  };
  const more = { 'http.ingress_http.downstream_rq_5xx': 2, 'http.ingress_http.no_route': 3, 'server.uptime': 4 };
  const list = Object.entries({ ...counters, ...more }).map(([name, value]) => ({ name, value }));
  expect(trafficOf(list, 8)).toEqual({ at: 8, requests: 12, rq5xx: 2, noRoute: 3 });
});

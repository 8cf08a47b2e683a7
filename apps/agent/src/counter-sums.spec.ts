import { describe, expect, it } from '@jest/globals';
import { emptySums, readRoutes, sumCounters } from './counter-sums.js';

const of = (values: Record<string, number>) => new Map(Object.entries(values));

describe('counters summed over epochs', () => {
  it('grow by what an epoch has counted since it was last read', () => {
    const first = sumCounters(emptySums, '7.0', of({ a: 5 }));
    expect(sumCounters(first, '7.0', of({ a: 8 })).total).toEqual({ a: 8 });
  });

  it('take all that a new epoch shows, in a hot restart and after a death', () => {
    let sums = sumCounters(emptySums, '7.0', of({ a: 5 }));
    sums = sumCounters(sums, '7.1', of({ a: 2 }));
    sums = sumCounters(sums, '7.1', of({ a: 3 }));
    expect(sumCounters(sums, '9.0', of({ a: 100, b: 1 })).total).toEqual({ a: 108, b: 1 });
  });

  it('keep what is not there any more, and never fall', () => {
    const sums = sumCounters(sumCounters(emptySums, '7.0', of({ a: 5 })), '7.1', of({}));
    expect(sums.total).toEqual({ a: 5 });
    expect(sumCounters(sumCounters(emptySums, '7.0', of({ a: 5 })), '7.0', of({ a: 1 })).total).toEqual({ a: 6 });
  });

  it('are one route where a route stands in several virtual hosts', () => {
    const sums = sumCounters(
      emptySums,
      '7.0',
      of({
        'vhost._2a.route.user.upstream_rq_2xx': 3,
        'vhost.example_2ecom.route.user.upstream_rq_2xx': 4,
        'vhost._2a.route.user.upstream_rq_total': 9,
        'vhost._2a.route.other.upstream_rq_5xx': 1,
        'http.ingress_http.downstream_rq_2xx': 99,
      }),
    );
    expect(readRoutes(sums)).toEqual([
      { statPrefix: 'user', rq2xx: 7, rq3xx: 0, rq4xx: 0, rq5xx: 0, rqTotal: 9 },
      { statPrefix: 'other', rq2xx: 0, rq3xx: 0, rq4xx: 0, rq5xx: 1, rqTotal: 0 },
    ]);
  });
});

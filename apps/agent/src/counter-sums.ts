/** Counters summed over epochs. Plain data, because it is kept on disk. */
export interface CounterSums {
  /** The epoch that `seen` was read from. */
  readonly epoch: string;
  readonly seen: Readonly<Record<string, number>>;
  readonly total: Readonly<Record<string, number>>;
}

export const emptySums: CounterSums = { epoch: '', seen: {}, total: {} };

/**
 * Adds what an epoch's counters have grown by since they were last seen. A new epoch begins at zero and is handed what its parent counts
 * from the parent's last flush on, so all that it shows is new. A counter that fell was reset; all that it shows is new as well.
 */
export function sumCounters(sums: CounterSums, epoch: string, counters: ReadonlyMap<string, number>): CounterSums {
  const seen = epoch === sums.epoch ? sums.seen : {};
  const total: Record<string, number> = { ...sums.total };
  for (const [name, value] of counters) {
    const before = seen[name] ?? 0;
    total[name] = (total[name] ?? 0) + (value >= before ? value - before : value);
  }
  return { epoch, seen: Object.fromEntries(counters), total };
}

export interface RouteSums {
  readonly statPrefix: string;
  readonly rq2xx: number;
  readonly rq3xx: number;
  readonly rq4xx: number;
  readonly rq5xx: number;
  readonly rqTotal: number;
}

/** Per route: the same route stands in several virtual hosts, and counts as one. */
export function readRoutes({ total }: CounterSums): RouteSums[] {
  const routes = new Map<string, Record<'2xx' | '3xx' | '4xx' | '5xx' | 'total', number>>();
  for (const [name, value] of Object.entries(total)) {
    const match = /^vhost\..*\.route\.(.*)\.upstream_rq_(2xx|3xx|4xx|5xx|total)$/.exec(name);
    if (match?.[1] === undefined) continue;
    const route = routes.get(match[1]) ?? { '2xx': 0, '3xx': 0, '4xx': 0, '5xx': 0, total: 0 };
    route[match[2] as keyof typeof route] += value;
    routes.set(match[1], route);
  }
  return [...routes].map(([statPrefix, sums]) => ({
    statPrefix,
    rq2xx: sums['2xx'],
    rq3xx: sums['3xx'],
    rq4xx: sums['4xx'],
    rq5xx: sums['5xx'],
    rqTotal: sums.total,
  }));
}

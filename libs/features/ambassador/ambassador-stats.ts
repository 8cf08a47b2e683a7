/** What of the rollout's statistics the original's answer needs. */
interface CountedGateway {
  readonly mappings: ReadonlyMap<string, CountedMapping>;
  readonly envoy: Readonly<Record<string, number>>;
  readonly updateAttempts: number;
  readonly updateSuccesses: number;
  readonly updateErrors: number;
  readonly lastUpdateAt: string | null;
  readonly lastAttemptAt: string | null;
}

interface CountedMapping {
  readonly healthyMembers: number;
  readonly totalMembers: number;
  readonly rq2xx: number;
  readonly rq3xx: number;
  readonly rq4xx: number;
  readonly rq5xx: number;
}

const none: CountedMapping = { healthyMembers: 0, totalMembers: 0, rq2xx: 0, rq3xx: 0, rq4xx: 0, rq5xx: 0 };

/** GET /ambassador/stats, in the original's words: every mapping that exists, counted or not, and none that is gone. */
export function ambassadorStats(stats: CountedGateway, names: readonly string[]): object {
  const { updateAttempts, updateSuccesses } = stats;
  const updates = {
    update_attempts: updateAttempts,
    update_successes: updateSuccesses,
    update_percent: percent(updateSuccesses, updateAttempts),
  };
  const counted = names.map((name) => {
    const one = stats.mappings.get(name) ?? none;
    return [
      name,
      {
        healthy_members: one.healthyMembers,
        total_members: one.totalMembers,
        healthy_percent: percent(one.healthyMembers, one.totalMembers),
        ...updates,
        upstream_ok: one.rq2xx + one.rq3xx,
        upstream_4xx: one.rq4xx,
        upstream_5xx: one.rq5xx,
        upstream_bad: one.rq4xx + one.rq5xx,
      },
    ] as const;
  });
  return {
    last_update: seconds(stats.lastUpdateAt),
    last_attempt: seconds(stats.lastAttemptAt),
    update_errors: stats.updateErrors,
    mappings: Object.fromEntries(counted),
    envoy: stats.envoy,
  };
}

function percent(part: number, whole: number): number | null {
  return whole === 0 ? null : Math.floor((part * 100) / whole);
}

function seconds(time: string | null): number {
  return time === null ? 0 : Date.parse(time) / 1000;
}

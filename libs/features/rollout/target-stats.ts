/** Requests of one mapping through one Envoy. */
interface RequestCounts {
  readonly rq2xx: number;
  readonly rq3xx: number;
  readonly rq4xx: number;
  readonly rq5xx: number;
  readonly rqTotal: number;
}

export interface MappingSample extends RequestCounts {
  readonly healthyMembers: number;
  readonly totalMembers: number;
}

/** What is stored of one mapping on one target: the sums since its enrolment, and the agent's own figures that were added last. */
export interface MappingSums extends MappingSample {
  readonly last: RequestCounts;
}

const counts = ['rq2xx', 'rq3xx', 'rq4xx', 'rq5xx', 'rqTotal'] as const;

/**
 * Adds an agent's newest figures to what is stored. Those only grow, except when the node lost its folder and counts from zero
 * again: then they are new in whole. The sums never go back. Mappings that the sample does not have keep their sums, without members.
 */
export function addSample(
  stored: Readonly<Record<string, MappingSums>>,
  sample: ReadonlyMap<string, MappingSample>,
): Record<string, MappingSums> {
  const sums: Record<string, MappingSums> = {};
  for (const [name, before] of Object.entries(stored)) sums[name] = { ...before, healthyMembers: 0, totalMembers: 0 };
  for (const [name, now] of sample) {
    const before = Object.hasOwn(stored, name) ? stored[name] : undefined;
    const last = before?.last;
    const grown = (key: (typeof counts)[number]) =>
      (before?.[key] ?? 0) + (last !== undefined && now[key] >= last[key] ? now[key] - last[key] : now[key]);
    sums[name] = {
      healthyMembers: now.healthyMembers,
      totalMembers: now.totalMembers,
      rq2xx: grown('rq2xx'),
      rq3xx: grown('rq3xx'),
      rq4xx: grown('rq4xx'),
      rq5xx: grown('rq5xx'),
      rqTotal: grown('rqTotal'),
      last: { rq2xx: now.rq2xx, rq3xx: now.rq3xx, rq4xx: now.rq4xx, rq5xx: now.rq5xx, rqTotal: now.rqTotal },
    };
  }
  return sums;
}

import type { RowOutcome, RowPlan } from '#features/mapping/mapping.envoy.js';
import type { ServiceReference } from '#features/mapping/service-reference.js';
import { CLUSTER_TYPE, type ResourceChange, type ResourceKey, SECRET_TYPE } from '#platform/xds/xds-resource.js';

import { clusterResource, trustResource } from './upstream-resources.js';

interface Use {
  readonly service: ServiceReference;
  readonly outcome: RowOutcome;
  rows: number;
}

/** Which upstreams the rows of a table forward to, and the clusters that come and go with that. */
export class UpstreamUse {
  readonly #uses = new Map<string, Use>();
  readonly #given = new Set<string>();
  readonly #touched = new Set<string>();
  #isTrustGiven = false;
  #https = 0;

  /** By cluster name. */
  get services(): ReadonlyMap<string, ServiceReference> {
    return new Map([...this.#uses].map(([cluster, { service }]) => [cluster, service]));
  }

  /** Counts a row in. @returns its outcome, the same object for all rows with one upstream. */
  take({ outcome, service }: RowPlan): RowOutcome {
    if (outcome.kind !== 'forwarded' || service === undefined) return outcome;
    let use = this.#uses.get(outcome.cluster);
    if (use === undefined) {
      use = { service, outcome, rows: 0 };
      this.#uses.set(outcome.cluster, use);
      this.#touched.add(outcome.cluster);
      if (service.scheme === 'https') this.#https += 1;
    }
    use.rows += 1;
    return use.outcome;
  }

  release(outcome: RowOutcome): void {
    if (outcome.kind !== 'forwarded') return;
    const use = this.#uses.get(outcome.cluster);
    if (use === undefined) return;
    use.rows -= 1;
    if (use.rows > 0) return;
    this.#uses.delete(outcome.cluster);
    this.#touched.add(outcome.cluster);
    if (use.service.scheme === 'https') this.#https -= 1;
  }

  /** The clusters, and the trust of https, that came and went since the last time. With `keep`, what went is told the next time instead. */
  changes(keep: boolean): ResourceChange {
    const upserts = [...this.#trustCame()];
    const removed: ResourceKey[] = keep ? [] : [...this.#trustWent()];
    for (const name of this.#touched) {
      const use = this.#uses.get(name);
      if (use === undefined && keep) continue;
      this.#touched.delete(name);
      if (use !== undefined && !this.#given.has(name)) {
        this.#given.add(name);
        upserts.push(clusterResource(name, use.service));
      } else if (use === undefined && this.#given.delete(name)) removed.push({ typeUrl: CLUSTER_TYPE, name });
    }
    return { upserts, removed };
  }

  *#trustCame() {
    if (this.#https === 0 || this.#isTrustGiven) return;
    this.#isTrustGiven = true;
    yield trustResource();
  }

  *#trustWent() {
    if (this.#https > 0 || !this.#isTrustGiven) return;
    this.#isTrustGiven = false;
    yield { typeUrl: SECRET_TYPE, name: trustResource().name };
  }
}

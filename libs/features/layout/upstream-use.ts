import type { RowOutcome, RowPlan } from '#features/mapping/mapping.envoy.js';
import { trustName } from '#features/mapping/mapping-cluster.envoy.js';
import type { Upstream } from '#features/mapping/upstream-tls.js';
import { CLUSTER_TYPE, type ResourceChange, type ResourceKey, SECRET_TYPE } from '#platform/xds/xds-resource.js';

import { clusterResource, trustResource } from './upstream-resources.js';

interface Use {
  readonly outcome: RowOutcome;
  rows: number;
}

/** Which upstreams the rows of a table forward to, and the clusters that come and go with that. */
export class UpstreamUse {
  readonly #uses = new Map<string, Use>();
  readonly #services = new Map<string, Upstream>();
  readonly #given = new Set<string>();
  readonly #touched = new Set<string>();
  /** By the name of a secret that https upstreams are checked against: one of them, and how many there are. */
  readonly #trust = new Map<string, { readonly of: Upstream; upstreams: number }>();
  readonly #trustGiven = new Set<string>();
  /** The clusters of a service (ServiceReference.key) that is spoken to in several ways. */
  readonly #clusters = new Map<string, Set<string>>();

  /** By cluster name. */
  get services(): ReadonlyMap<string, Upstream> {
    return this.#services;
  }

  /** Counts a row in. @returns its outcome, the same object for all rows with one upstream. */
  take({ outcome, service }: RowPlan): RowOutcome {
    if (outcome.kind !== 'forwarded' || service === undefined) return outcome;
    let use = this.#uses.get(outcome.cluster);
    if (use === undefined) {
      use = { outcome, rows: 0 };
      this.#uses.set(outcome.cluster, use);
      this.#services.set(outcome.cluster, service);
      this.#touched.add(outcome.cluster);
      this.#count(outcome.cluster, service, 1);
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
    const service = this.#services.get(outcome.cluster);
    if (service !== undefined) this.#count(outcome.cluster, service, -1);
    this.#services.delete(outcome.cluster);
  }

  /** The clusters that lead to a service, by ServiceReference.key. */
  clustersOf(key: string): Iterable<string> {
    return this.#clusters.get(key) ?? [];
  }

  #count(cluster: string, service: Upstream, more: 1 | -1): void {
    const clusters = this.#clusters.get(service.key) ?? new Set();
    if (more > 0) this.#clusters.set(service.key, clusters.add(cluster));
    else if (clusters.delete(cluster) && clusters.size === 0) this.#clusters.delete(service.key);
    if (service.scheme !== 'https') return;
    const name = trustName(service);
    const trust = this.#trust.get(name) ?? { of: service, upstreams: 0 };
    trust.upstreams += more;
    if (trust.upstreams > 0) this.#trust.set(name, trust);
    else this.#trust.delete(name);
  }

  /** The clusters, and the trust of https, that came and went since the last time. With `keep`, what went is told the next time instead. */
  changes(keep: boolean): ResourceChange {
    const upserts = [...this.#trustCame()];
    const removed: ResourceKey[] = keep ? [] : [...this.#trustWent()];
    for (const name of this.#touched) {
      const service = this.#services.get(name);
      if (service === undefined && keep) continue;
      this.#touched.delete(name);
      if (service !== undefined && !this.#given.has(name)) {
        this.#given.add(name);
        upserts.push(clusterResource(name, service));
      } else if (service === undefined && this.#given.delete(name)) removed.push({ typeUrl: CLUSTER_TYPE, name });
    }
    return { upserts, removed };
  }

  *#trustCame() {
    for (const [name, { of }] of this.#trust) {
      if (this.#trustGiven.has(name)) continue;
      this.#trustGiven.add(name);
      yield trustResource(of);
    }
  }

  *#trustWent() {
    for (const name of this.#trustGiven) {
      if (this.#trust.has(name)) continue;
      this.#trustGiven.delete(name);
      yield { typeUrl: SECRET_TYPE, name };
    }
  }
}

import { join } from 'node:path';
import { type EnvoyAdmin, EnvoyAdminError } from '#platform/envoy/admin.js';
import { readCheckedJson, writeCheckedJson } from '#platform/envoy/durable-file.js';
import type { LiveEpoch } from '#platform/envoy/epoch-start.js';
import { Stats } from '#platform/xds/generated/delivery.js';
import { type CounterSums, emptySums, readRoutes, sumCounters } from './counter-sums.js';

/** What is asked of Envoy: per route, per cluster, and a small selection of the whole. */
const COUNTERS = String.raw`^(vhost\..*\.route\..*\.upstream_rq_(2xx|3xx|4xx|5xx|total|completed)|http\.ingress_[^.]*\.downstream_(rq_(1xx|2xx|3xx|4xx|5xx|total)|cx_total)|listener_manager\.listener_create_failure)$`;
const GAUGES = String.raw`^(cluster\..*\.membership_(healthy|total)|server\.(uptime|memory_allocated|total_connections|concurrency)|http\.ingress_[^.]*\.downstream_(cx|rq)_active)$`;

/** Reads Envoy's statistics and keeps sums that survive its epochs, its deaths and the agent's own. */
export class EnvoyStats {
  readonly #path: string;
  #sums: CounterSums;

  constructor(folder: string) {
    this.#path = join(folder, 'stats');
    const content = readCheckedJson(this.#path);
    this.#sums = typeof content === 'object' ? (content.value as CounterSums) : emptySums;
  }

  /** Null while Envoy does not answer its admin, as in the moment of a hot restart. */
  async read(admin: EnvoyAdmin, live: () => LiveEpoch | null): Promise<Stats | null> {
    const before = live();
    if (before === null) return null;
    let counters: ReadonlyMap<string, number>;
    let gauges: ReadonlyMap<string, number>;
    try {
      counters = await admin.stats(COUNTERS, { timeoutMs: 5000 });
      gauges = await admin.gauges(GAUGES, { timeoutMs: 5000 });
    } catch (error) {
      if (error instanceof EnvoyAdminError) return null;
      throw error;
    }
    // The admin may have passed to the next epoch between two answers: then nobody knows whose counters these are.
    const after = live();
    if (after === null || after.epoch !== before.epoch || after.baseId !== before.baseId) return null;
    this.#sums = sumCounters(this.#sums, `${before.baseId}.${before.epoch}`, counters);
    writeCheckedJson(this.#path, this.#sums, { durable: false });
    return Stats.fromPartial({
      atMs: Date.now(),
      routes: readRoutes(this.#sums),
      clusters: readClusters(gauges),
      envoy: [
        ...[...Object.entries(this.#sums.total)].filter(([name]) => !name.startsWith('vhost.')),
        ...[...gauges].filter(([name]) => !name.startsWith('cluster.')),
      ].map(([name, value]) => ({ name, value })),
    });
  }
}

function readClusters(gauges: ReadonlyMap<string, number>): { cluster: string; healthyMembers: number; totalMembers: number }[] {
  const clusters = [];
  for (const [name, totalMembers] of gauges) {
    const cluster = /^cluster\.(.*)\.membership_total$/.exec(name)?.[1];
    if (cluster === undefined) continue;
    clusters.push({ cluster, healthyMembers: gauges.get(`cluster.${cluster}.membership_healthy`) ?? 0, totalMembers });
  }
  return clusters;
}

import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type EnvoyAdmin, EnvoyAdminError } from '#platform/envoy/admin.js';
import { readCheckedJson, writeCheckedJson } from '#platform/envoy/durable-file.js';
import type { LiveEpoch } from '#platform/envoy/epoch-start.js';
import { Stats } from '#platform/xds/generated/delivery.js';
import { type CounterSums, emptySums, readRoutes, sumCounters } from './counter-sums.js';

/** What is asked of Envoy: per route, per cluster, and a small selection of the whole. */
const COUNTERS = String.raw`^(vhost\..*\.route\..*\.upstream_rq_(2xx|3xx|4xx|5xx|total|completed)|http\.ingress_[^.]*\.(downstream_(rq_(1xx|2xx|3xx|4xx|5xx|total)|cx_total)|no_route)|listener_manager\.listener_create_failure)$`;
const GAUGES = String.raw`^(cluster\..*\.membership_(healthy|total)|server\.(uptime|memory_allocated|total_connections|concurrency)|http\.ingress_[^.]*\.downstream_(cx|rq)_active)$`;

/** A restart waits no longer for an admin that does not answer. */
const PATIENCE_MS = 200;

/** Reads Envoy's statistics and keeps sums that survive its epochs, its deaths and the agent's own. */
export class EnvoyStats {
  readonly #path: string;
  #sums: CounterSums;
  #reading: Promise<Stats | null> | null = null;
  #paused = 0;

  constructor(folder: string) {
    this.#path = join(folder, 'stats');
    const content = readCheckedJson(this.#path);
    this.#sums = typeof content === 'object' ? (content.value as CounterSums) : emptySums;
  }

  /**
   * Keeps readings out of a hot restart: waits a moment for the one under way, and lets none begin until `resume` is called. Being read flushes
   * the counters, and what was flushed is not handed to the next epoch: an answer that came too late to tell whose it is would be lost.
   * @returns `resume`
   */
  async pause(): Promise<() => void> {
    this.#paused += 1;
    // What a failing one has to say goes to whoever asked for it.
    await Promise.race([this.#reading?.catch(() => null), pause(PATIENCE_MS, undefined, { ref: false })]);
    return () => {
      this.#paused -= 1;
    };
  }

  /** Null while Envoy does not answer its admin, as in the moment of a hot restart; readings do not overlap. */
  async read(admin: EnvoyAdmin, live: () => LiveEpoch | null): Promise<Stats | null> {
    if (this.#paused > 0 || this.#reading !== null) return null;
    this.#reading = this.#read(admin, live).finally(() => {
      this.#reading = null;
    });
    return this.#reading;
  }

  async #read(admin: EnvoyAdmin, live: () => LiveEpoch | null): Promise<Stats | null> {
    const before = live();
    if (before === null) return null;
    let values: ReadonlyMap<string, number>;
    try {
      // In one question: a second one would flush what was counted meanwhile, and the last before a restart would lose it.
      values = await admin.stats(`${COUNTERS}|${GAUGES}`, { timeoutMs: 5000 });
    } catch (error) {
      if (error instanceof EnvoyAdminError) return null;
      throw error;
    }
    // The admin may have passed to the next epoch between two answers: then nobody knows whose counters these are.
    const after = live();
    if (after === null || after.epoch !== before.epoch || after.baseId !== before.baseId) return null;
    const isGauge = new RegExp(GAUGES);
    const gauges = new Map([...values].filter(([name]) => isGauge.test(name)));
    const counters = new Map([...values].filter(([name]) => !gauges.has(name)));
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

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

import { countSecretProblems } from '#features/certificate/kubernetes-secret.table.js';
import { listReadOnlyTargets } from '#features/rollout/lineage.table.js';
import { readStatusRows } from '#features/rollout/set-aside.table.js';
import { listTargets } from '#features/rollout/target.table.js';
import type { Db } from '#platform/database/database.js';
import type { Queue } from '#platform/queue/queue.js';

import type { Gateways } from './fold/gateways.js';
import type { LiveDelivery } from './live/live-delivery.js';
import type { StockEnvoys } from './targets/stock-envoys.js';
import type { TargetSession } from './targets/target-session.js';

export interface MetricSources {
  readonly db: Db;
  readonly gateways: Gateways;
  readonly live: LiveDelivery;
  readonly envoys: StockEnvoys;
  queue(): Queue | undefined;
  sessions(): TargetSession[];
}

/** The worker's metrics. Gauges are read when they are asked for. */
export class WorkerMetrics {
  readonly registry = new Registry();
  readonly #acks: Counter;
  readonly #pushes: Histogram;
  readonly #propagation: Histogram;

  constructor(sources: MetricSources) {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    this.#acks = new Counter({
      name: 'chancery_xds_ack_total',
      help: 'Releases that agents acknowledged or refused.',
      labelNames: ['gateway', 'type_url', 'result'],
      registers,
    });
    this.#pushes = new Histogram({
      name: 'chancery_redeploy_duration_seconds',
      help: 'From the start of a push to its end.',
      labelNames: ['result'],
      buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160],
      registers,
    });
    this.#propagation = new Histogram({
      name: 'chancery_propagation_seconds',
      help: 'From the moment at which the worker saw a version to its proof on a target.',
      buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64],
      registers,
    });
    this.#gauge('chancery_xds_connected', 'Agents that are connected to this worker.', ['gateway'], (gauge) => {
      for (const name of sources.gateways.names()) gauge.set({ gateway: name }, 0);
      for (const session of sources.sessions()) gauge.inc({ gateway: session.gateway });
    });
    this.#liveGauges(sources);
    this.#gauge('chancery_config_version', 'The newest version of each gateway that this worker has folded.', ['gateway'], (gauge) => {
      for (const name of sources.gateways.names()) gauge.set({ gateway: name }, sources.gateways.fold(name)?.version ?? 0);
    });
    this.#gauge(
      'chancery_config_live_version',
      'The newest version that all targets of a gateway that are here have proven.',
      ['gateway'],
      async (gauge) => {
        for (const name of sources.gateways.names()) {
          const here = (await listTargets(sources.db, name)).filter((target) => target.state === 'enrolled' && target.kind === 'agent');
          if (here.length > 0) gauge.set({ gateway: name }, Math.min(...here.map((target) => target.provenVersion)));
        }
      },
    );
    this.#gauge(
      'chancery_set_aside_mappings',
      'Mappings that are set aside because Envoy, or the compiler, refuses them.',
      ['gateway'],
      async (gauge) => {
        for (const name of sources.gateways.names()) {
          gauge.set({ gateway: name }, (await readStatusRows(sources.db, name)).filter((row) => row.state === 'set_aside').length);
        }
      },
    );
    this.#gauge('chancery_queue_jobs', 'Jobs of the queue.', ['queue', 'state'], async (gauge) => {
      for (const [state, count] of Object.entries((await sources.queue()?.counts()) ?? {})) gauge.set({ queue: 'deploy', state }, count);
    });
    this.#kubernetes(sources);
    this.#gauge('chancery_read_only_targets', 'Targets that stand still until an operator runs chancery recover.', [], async (gauge) => {
      gauge.set((await listReadOnlyTargets(sources.db)).length);
    });
  }

  answered(gateway: string, typeUrl: string, result: 'ack' | 'nack'): void {
    this.#acks.inc({ gateway, type_url: typeUrl, result });
  }

  /** @param seenAtMs when the change that was pushed was seen; undefined for other causes */
  pushEnded(result: string, durationMs: number, seenAtMs: number | undefined): void {
    this.#pushes.observe({ result }, durationMs / 1_000);
    if (result === 'proven' && seenAtMs !== undefined) this.#propagation.observe((Date.now() - seenAtMs) / 1_000);
  }

  /** Not a condition of readiness: with the API server away, what is known is served on. */
  #kubernetes({ db, gateways }: MetricSources): void {
    this.#gauge('chancery_kubernetes_heard', 'Whether the API server of Kubernetes is heard, where there is one.', [], (gauge) => {
      if (Object.keys(gateways.clusterRestarts).length > 0) gauge.set(gateways.clusterError === '' ? 1 : 0);
    });
    this.#gauge('chancery_kubernetes_secret_problems', 'Watched Secrets that are not taken for certificates.', [], async (gauge) => {
      gauge.set(await countSecretProblems(db));
    });
    new Counter({
      name: 'chancery_k8s_watch_restarts_total',
      help: 'How often a watch of Kubernetes was begun again.',
      labelNames: ['resource'],
      registers: [this.registry],
      collect() {
        this.reset();
        for (const [resource, restarts] of Object.entries(gateways.clusterRestarts)) this.inc({ resource }, restarts);
      },
    });
  }

  #liveGauges(sources: MetricSources): void {
    this.#gauge(
      'chancery_live_unproven_releases',
      'Releases that were sent live and whose outcome is not known yet.',
      ['gateway'],
      (gauge) => {
        for (const publisher of sources.live.publishers())
          gauge.set(
            { gateway: publisher.gateway },
            publisher.sessions().reduce((sum, { unproven }) => sum + unproven.length, 0),
          );
      },
    );
    this.#gauge('chancery_live_resources', 'Resources that each target of a gateway that is delivered live has.', ['gateway'], (gauge) => {
      for (const { gateway, head } of sources.live.publishers()) if (head !== undefined) gauge.set({ gateway }, head.set.size);
    });
    this.#gauge('chancery_envoys_connected', 'Envoys without an agent that are connected to this worker.', [], (gauge) => {
      gauge.set(sources.envoys.owners().length);
    });
  }

  #gauge(name: string, help: string, labelNames: string[], collect: (gauge: Gauge) => void | Promise<void>): void {
    new Gauge({
      name,
      help,
      labelNames,
      registers: [this.registry],
      async collect() {
        this.reset();
        await Promise.resolve(collect(this)).catch(() => undefined); // a database that is away leaves the gauge empty: no figure is better than a wrong one
      },
    });
  }
}

import { addTraffic, trafficOf } from '#features/promotion/traffic.js';
import { readLineage } from '#features/rollout/lineage.table.js';
import { takeStep } from '#features/rollout/push.table.js';
import { finalState, readOnlyReason } from '#features/rollout/rollout.js';
import { addSample, type MappingSample } from '#features/rollout/target-stats.js';
import { readTargetStats, writeTargetStats } from '#features/rollout/target-stats.table.js';
import { type AgentStatus, closeStream, openStream, writeReadOnly, writeStatus } from '#features/rollout/target-stream.table.js';
import type { Db } from '#platform/database/database.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';
import type { AgentIdentity, DeliveryHandlers } from '#platform/xds/delivery-server.js';
import type { DeliverySession } from '#platform/xds/delivery-session.js';
import type { Hello, Report, Stats, Status, Welcome } from '#platform/xds/generated/delivery.js';
import type { LiveDelivery } from '../live/live-delivery.js';
import { countedBy } from '../live/live-statistics.js';
import { checkTargetNames, mayServe } from './agent-rights.js';
import { TargetSession } from './target-session.js';

export interface AgentHandlersOptions {
  readonly db: Db;
  readonly worker: string;
  readonly log: Log;
  readonly statsIntervalMs: number;
  readonly live: LiveDelivery;
  authenticate(token: string): Promise<AgentIdentity | undefined>;
  /** The target should be looked at. */
  look(target: string): void;
  /** The same without waiting for the queue: what a stream finds when it opens may be the fault of the queue's last worker. */
  lookNow(target: string): void;
  /** A push has ended: its record is due. */
  onPushEnded(): void;
}

/** What this worker does with what agents say, and which agents are here. */
export class AgentHandlers implements DeliveryHandlers {
  readonly #options: AgentHandlersOptions;
  readonly #sessions = new Map<string, TargetSession>();

  constructor(options: AgentHandlersOptions) {
    this.#options = options;
  }

  session(target: string): TargetSession | undefined {
    return this.#sessions.get(target);
  }

  sessions(): TargetSession[] {
    return [...this.#sessions.values()];
  }

  authenticate(token: string): Promise<AgentIdentity | undefined> {
    return this.#options.authenticate(token);
  }

  async opened(delivery: DeliverySession, identity: AgentIdentity): Promise<Omit<Welcome, 'session'>> {
    const { db, worker, log } = this.#options;
    const { hello } = delivery;
    checkHello(hello, identity);
    const facts = {
      http: hello.http ?? null,
      https: hello.https ?? null,
      envoyVersion: hello.envoyVersion,
      agentVersion: hello.agentVersion,
      instance: hello.instance,
    };
    const opened = await openStream(db, { name: hello.target, gateway: hello.gateway, worker, facts });
    const session = new TargetSession(delivery, opened.term);
    const readOnly = readOnlyReason(hello.lastFence ?? null, hello.status?.appliedVersion ?? 0, opened.sent, opened.head);
    if (readOnly !== null) {
      session.readOnly = true;
      await writeReadOnly(db, session.owner, readOnly);
      log.error({ target: hello.target, reason: readOnly }, 'nothing is pushed to this target until an operator runs chancery recover');
    }
    this.#sessions.get(hello.target)?.delivery.close('another stream of this target was opened');
    this.#sessions.set(hello.target, session);
    this.#options.live.opened(session);
    await this.#storeStatus(session);
    const { lineage, lineageId } = await readLineage(db);
    log.info({ target: hello.target, gateway: hello.gateway, term: opened.term }, 'an agent has connected');
    return { term: opened.term, lineage, lineageId, statsIntervalMs: this.#options.statsIntervalMs };
  }

  subscribed(delivery: DeliverySession): void {
    const session = this.#of(delivery);
    if (session === undefined) return;
    this.#options.live.subscribed(session);
    session.changed();
    this.#options.lookNow(session.target);
  }

  async status(delivery: DeliverySession, status: Status): Promise<void> {
    const session = this.#of(delivery);
    if (session === undefined) return;
    const drifted = status.appliedRenderSha256 !== session.status.appliedRenderSha256;
    const isFirst = !session.statusCame;
    session.takeStatus(status);
    await this.#storeStatus(session);
    // With each live release the applied render is another one; one that is not what was sent is found by the sweep.
    const matters = this.#options.live.isLive(session.gateway) ? isFirst : drifted && status.state !== 'busy';
    if (matters) this.#options.look(session.target);
  }

  async report(delivery: DeliverySession, report: Report): Promise<'taken' | 'later'> {
    const session = this.#of(delivery);
    if (session === undefined) throw new DomainError('conflict', 'stream_replaced', 'Another stream of this target was opened.');
    const { live } = this.#options;
    if (live.liveOf(session)?.sent(report.releaseId) !== undefined) return live.report(session, report);
    if (report.step === 'restarted') session.takeRestart();
    const final = finalState(report.step) ?? null;
    const taken = await takeStep(this.#options.db, session.owner, {
      release: report.releaseId,
      report: report.id,
      step: report.step,
      atMs: report.atMs,
      durationMs: report.durationMs,
      code: report.code,
      detail: report.detail,
      epochFrom: report.epochFrom,
      epochTo: report.epochTo,
      final,
    });
    // No row: a live release that was sent by a worker before this one, or on a stream before this one.
    if (taken === undefined && report.coversFrom > 0) return live.report(session, report);
    if (taken === undefined)
      this.#options.log.info(
        { target: session.target, release: report.releaseId, step: report.step },
        'a report about a release that is not known here',
      );
    if (final === null) return 'taken';
    session.takeEnd(report.releaseId, { state: final, code: report.code, detail: report.detail });
    if (taken?.ended === true) this.#options.onPushEnded();
    return 'taken';
  }

  async stats(delivery: DeliverySession, stats: Stats): Promise<void> {
    const session = this.#of(delivery);
    const counted = session === undefined ? undefined : this.#counted(session);
    if (session === undefined || counted === undefined) return;
    const stored = await readTargetStats(this.#options.db, session.target);
    await writeTargetStats(this.#options.db, session.owner, {
      atMs: stats.atMs,
      mappings: addSample(stored.mappings, sampleOf(stats, counted.mappingOfPrefix, counted.clusterOf)),
      envoy: Object.fromEntries(stats.envoy.map(({ name, value }) => [name, value])),
      traffic: addTraffic(stored.traffic, trafficOf(stats.envoy, stats.atMs)),
    });
  }

  /** Which mapping a statistics prefix stands for, and which cluster each mapping forwards to. */
  #counted(session: TargetSession) {
    const live = this.#options.live.liveOf(session);
    if (live !== undefined) return live.lane.version === 0 ? undefined : countedBy(live.lane);
    const rendered = session.render?.rendered;
    return rendered === undefined ? undefined : { mappingOfPrefix: session.mappingOfPrefix, clusterOf: rendered.clusterOf };
  }

  closed(delivery: DeliverySession, reason: string): void {
    const session = this.#of(delivery);
    if (session === undefined) return;
    this.#sessions.delete(session.target);
    this.#options.live.closed(session);
    session.changed();
    this.#options.log.info({ target: session.target, reason }, 'an agent has gone');
    closeStream(this.#options.db, session.owner).catch((err: unknown) =>
      this.#options.log.warn({ err, target: session.target }, 'the end of a stream could not be written; the sweep will see it'),
    );
  }

  #of(delivery: DeliverySession): TargetSession | undefined {
    const session = this.#sessions.get(delivery.target);
    return session?.delivery === delivery ? session : undefined;
  }

  async #storeStatus(session: TargetSession): Promise<void> {
    const row = statusRow(session.status);
    if (session.written !== undefined && sameRow(row, session.written)) return;
    session.written = undefined; // not known until it is written
    if (!(await writeStatus(this.#options.db, session.owner, row)))
      throw new DomainError('conflict', 'stream_replaced', 'Another stream of this target was opened.');
    session.written = row;
  }
}

function statusRow(status: Status): AgentStatus {
  const { state, epoch, envoyPid, windowEndsMs, appliedRelease, appliedVersion, appliedRenderSha256, error, delivery } = status;
  return { state, epoch, envoyPid, windowEndsMs, appliedRelease, appliedVersion, appliedRender: appliedRenderSha256, error, delivery };
}

function sameRow(a: AgentStatus, b: AgentStatus): boolean {
  return (Object.keys(a) as (keyof AgentStatus)[]).every((member) => a[member] === b[member]);
}

function checkHello(hello: Hello, identity: AgentIdentity): void {
  checkTargetNames(hello.target, hello.gateway);
  if (hello.proofSecret.length < 16 || hello.proofSecret.length > 256)
    throw new DomainError('invalid', 'proof_secret', 'The proof secret has 16 to 256 characters.');
  mayServe(identity, hello.target);
}

function sampleOf(
  stats: Stats,
  mappingOfPrefix: ReadonlyMap<string, string>,
  clusterOf: ReadonlyMap<string, string>,
): Map<string, MappingSample> {
  const clusters = new Map(stats.clusters.map((cluster) => [cluster.cluster, cluster]));
  const routes = new Map(stats.routes.map((route) => [mappingOfPrefix.get(route.statPrefix), route]));
  const sample = new Map<string, MappingSample>();
  for (const [mapping, cluster] of clusterOf) {
    const members = clusters.get(cluster);
    const route = routes.get(mapping);
    sample.set(mapping, {
      healthyMembers: members?.healthyMembers ?? 0,
      totalMembers: members?.totalMembers ?? 0,
      rq2xx: route?.rq2xx ?? 0,
      rq3xx: route?.rq3xx ?? 0,
      rq4xx: route?.rq4xx ?? 0,
      rq5xx: route?.rq5xx ?? 0,
      rqTotal: route?.rqTotal ?? 0,
    });
  }
  return sample;
}

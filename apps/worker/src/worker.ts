import { setTimeout as sleep } from 'node:timers/promises';

import { listReadOnlyTargets } from '#features/rollout/lineage.table.js';
import { type Database, openDatabase } from '#platform/database/database.js';
import { listen } from '#platform/database/listener.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import { createWake, type Follower, type Wake } from '#platform/eventstore/follower.js';
import { failpoint } from '#platform/failpoint/failpoint.js';
import { openQueue, type Queue } from '#platform/queue/queue.js';
import { type DeliveryServer, startDeliveryServer } from '#platform/xds/delivery-server.js';
import { mutualTls, peerIdentity } from '#platform/xds/server-credentials.js';

import { AgentHandlers } from './agent-handlers.js';
import { Confirmations } from './confirmations.js';
import { Gateways } from './gateways.js';
import { LiveDelivery } from './live-delivery.js';
import { type LookContext, look } from './look.js';
import { LookRunner } from './look-runner.js';
import { WorkerMetrics } from './metrics.js';
import { Recorder } from './recorder.js';
import { followRedeployments } from './redeployments.js';
import { Renderer } from './renderer.js';
import { type Check, startStatusServer } from './status-server.js';
import { StockEnvoys } from './stock-envoys.js';
import { Sweep } from './sweep.js';
import { defaultTuning, type Tuning, type WorkerOptions } from './worker-options.js';

export interface RunningWorker {
  /** Where agents dial in. */
  readonly port: number;
  readonly statusPort: number | undefined;
  /** Stops taking work, ends the agents' streams, closes everything. */
  close(): Promise<void>;
}

/** Starts a worker: it serves agents as soon as this resolves. The queue is opened beside that, as soon as its server answers. */
export async function startWorker(options: WorkerOptions): Promise<RunningWorker> {
  const worker = new Worker(options);
  const { port, statusPort } = await worker.start();
  return { port, statusPort, close: () => worker.close() };
}

/** The wiring: what there is, who calls whom, and in which order it starts and stops. */
class Worker {
  readonly #options: WorkerOptions;
  readonly #tuning: Tuning;
  readonly #database: Database;
  readonly #wake: Wake;
  readonly #events: EventStore;
  readonly #recorder: Recorder;
  readonly #confirmations: Confirmations;
  readonly #gateways: Gateways;
  readonly #renderer: Renderer;
  readonly #live: LiveDelivery;
  readonly #envoys: StockEnvoys;
  readonly #handlers: AgentHandlers;
  readonly #runner: LookRunner;
  readonly #sweep: Sweep;
  readonly #metrics: WorkerMetrics;
  readonly #closing = new AbortController();
  #queue: Queue | undefined;
  #opening: Promise<void> = Promise.resolve();
  #redeployments: Follower | undefined;
  #listener: { close(): Promise<void> } | undefined;
  #server: DeliveryServer | undefined;
  #status: { port: number; close(): Promise<void> } | undefined;

  constructor(options: WorkerOptions) {
    const { log, name } = options;
    const tuning = { ...defaultTuning, ...options.tuning };
    this.#options = options;
    this.#tuning = tuning;
    this.#database = openDatabase({ url: options.databaseUrl, applicationName: 'chancery-worker', maxConnections: 20, log });
    const { db } = this.#database;
    this.#wake = createWake(options.databaseUrl, log);
    this.#events = new EventStore({ database: this.#database, log });
    this.#recorder = new Recorder({ db, events: this.#events, log, pollMs: tuning.sweepMs });
    this.#confirmations = new Confirmations({
      db,
      events: this.#events,
      log,
      ownPorts: options.ownPorts,
      everyMs: tuning.confirmationsMs,
    });
    this.#gateways = new Gateways({
      ...options,
      database: this.#database,
      wake: this.#wake,
      pollMs: tuning.pollMs,
      servicesFile: options.servicesFile,
      onLoaded: (fold) => this.#live.load(fold),
      onApplied: (...change) => this.#live.apply(...change),
      onChange: (gateway) => this.#gatewayChanged(gateway),
    });
    this.#renderer = new Renderer(db, this.#gateways);
    this.#live = this.#liveDelivery();
    const authenticate = (token: string) => options.authenticate(token, { db, events: this.#events });
    this.#envoys = new StockEnvoys({
      db,
      worker: name,
      log,
      authenticate,
      certificateOf: ({ call }) => peerIdentity(call)?.name,
      publisher: (gateway) => this.#live.publisher(gateway),
      onRefused: (...refusal) => this.#live.refused(...refusal),
    });
    this.#handlers = new AgentHandlers({
      db,
      live: this.#live,
      worker: name,
      log,
      statsIntervalMs: tuning.statsIntervalMs,
      authenticate,
      look: (target) => this.#runner.request(target),
      lookNow: (target) => this.#runner.runNow(target),
      onPushEnded: () => this.#recorder.kick(),
    });
    const sessions = () => this.#handlers.sessions();
    this.#metrics = new WorkerMetrics({
      db,
      gateways: this.#gateways,
      live: this.#live,
      envoys: this.#envoys,
      queue: () => this.#queue,
      sessions,
    });
    const context = this.#lookContext();
    this.#runner = new LookRunner({
      log,
      look: (one) => look(context, one),
      held: (target) => this.#handlers.session(target) !== undefined,
    });
    this.#sweep = new Sweep({
      db,
      worker: name,
      gateways: this.#gateways,
      live: this.#live,
      log,
      everyMs: tuning.sweepMs,
      silentMs: tuning.silentMs,
      awayMs: tuning.awayMs,
      notReadyMs: tuning.notReadyMs,
      sessions,
      envoys: this.#envoys,
      look: (target) => this.#runner.request(target),
    });
  }

  async start(): Promise<{ port: number; statusPort: number | undefined }> {
    const { log, listen: address, tls, statusListen, databaseUrl } = this.#options;
    await this.#gateways.start();
    this.#redeployments = followRedeployments({
      database: this.#database,
      wake: this.#wake,
      log,
      pollMs: this.#tuning.pollMs,
      onRequested: (gateway) => this.#redeploymentRequested(gateway),
    });
    this.#listener = listen({
      url: databaseUrl,
      channels: ['chancery_look', 'chancery_aside'],
      onNotify: (channel, name) => {
        if (channel === 'chancery_aside') this.#takeAsides(name);
        else if (this.#handlers.session(name) !== undefined) this.#runner.runNow(name);
      },
      onReconnect: () => undefined, // what was missed meanwhile is the sweep's
      log,
    });
    const credentials = tls === undefined ? {} : { credentials: mutualTls(tls) };
    this.#server = await startDeliveryServer({ ...address, ...credentials, handlers: this.#handlers, envoys: this.#envoys.endpoint, log });
    this.#opening = this.#openQueue();
    this.#recorder.start();
    this.#confirmations.start();
    this.#sweep.start();
    if (statusListen !== undefined) {
      this.#status = await startStatusServer({ ...statusListen, registry: this.#metrics.registry, checks: this.#checks() });
    }
    return { port: this.#server.port, statusPort: this.#status?.port };
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#opening;
    await this.#sweep.close();
    await Promise.all([this.#gateways.close(), this.#redeployments?.close(), this.#listener?.close()]);
    this.#envoys.close();
    await this.#server?.close();
    await this.#live.close();
    await this.#queue?.close();
    await this.#runner.close();
    await this.#recorder.close();
    await this.#confirmations.close();
    await this.#events.close();
    await this.#wake.close();
    await this.#status?.close();
    await this.#database.close();
  }

  #lookContext(): LookContext {
    const { db } = this.#database;
    return {
      db,
      worker: this.#options.name,
      gateways: this.#gateways,
      renderer: this.#renderer,
      live: this.#live,
      log: this.#options.log,
      pushDeadlineMs: this.#tuning.pushDeadlineMs,
      readyDeadlineMs: this.#tuning.readyDeadlineMs,
      validateDeadlineMs: this.#tuning.validateDeadlineMs,
      session: (target) => this.#handlers.session(target),
      onAnswer: (session, typeUrl, result) => this.#metrics.answered(session.gateway, typeUrl, result),
      onPushEnd: (result, durationMs, seenAtMs) => {
        this.#metrics.pushed(result.state, durationMs);
        if (result.state === 'proven' && seenAtMs !== undefined) this.#metrics.propagated(Date.now() - seenAtMs);
        this.#recorder.kick();
      },
    };
  }

  #liveDelivery(): LiveDelivery {
    const { log } = this.#options;
    const { pushDeadlineMs, heldBackDeadlineMs, validateDeadlineMs } = this.#tuning;
    return new LiveDelivery({
      context: { db: this.#database.db, gateways: this.#gateways, renderer: this.#renderer, log, validateDeadlineMs },
      pushDeadlineMs,
      heldBackDeadlineMs,
      sessions: () => this.#handlers.sessions(),
      onRecord: () => this.#recorder.kick(),
      onEnd: (state, durationMs, seenAtMs) => {
        this.#metrics.pushed(state, durationMs);
        if (state === 'proven' && seenAtMs !== undefined) this.#metrics.propagated(Date.now() - seenAtMs);
      },
      onAnswer: (session, typeUrl, result) => this.#metrics.answered(session.gateway, typeUrl, result),
      onHead: (publisher) => this.#envoys.update(publisher),
    });
  }

  #takeAsides(gateway: string): void {
    this.#live
      .takeAsides(gateway)
      .catch((err: unknown) => this.#options.log.warn({ err, gateway }, 'what is set aside could not be read; the sweep reads it'));
  }

  #gatewayChanged(gateway: string): void {
    if (this.#live.isLive(gateway)) return; // those targets have been written to
    failpoint('worker.afterReadBeforeEnqueue');
    for (const session of this.#handlers.sessions()) if (session.gateway === gateway) this.#runner.request(session.target);
  }

  #redeploymentRequested(gateway: string): void {
    for (const session of this.#handlers.sessions()) {
      if (session.gateway !== gateway) continue;
      session.nudges += 1;
      session.changed();
      this.#runner.request(session.target);
    }
  }

  /** The queue's server may come later than the worker, or go and come again: until it is there the sweep does without. */
  async #openQueue(): Promise<void> {
    const { redisUrl, databaseUrl, log, queueName } = this.#options;
    const { queueLockMs: lockMs, backoffMs } = this.#tuning;
    const name = queueName === undefined ? {} : { name: queueName };
    for (let waitMs = 200; !this.#closing.signal.aborted; waitMs = Math.min(5_000, waitMs * 2)) {
      try {
        this.#queue = await openQueue({ redisUrl, databaseUrl, log, lockMs, backoffMs, ...name });
        this.#runner.use(this.#queue);
        return;
      } catch (err) {
        log.error({ err }, 'the queue cannot be opened yet; targets are looked at without it');
        await sleep(waitMs, undefined, { signal: this.#closing.signal }).catch(() => undefined); // aborted: the loop ends
      }
    }
  }

  #checks(): Record<string, Check> {
    const { db } = this.#database;
    return {
      database: async () => {
        await db.selectNoFrom((select) => select.val(1).as('one')).execute();
        return '';
      },
      queue: () => (this.#queue === undefined ? 'not open yet' : ''),
      services_file: () => this.#gateways.servicesFileError,
      live: () => {
        const waiting = this.#live.publishers().filter(({ isLive, head }) => isLive && (head?.version ?? 0) === 0);
        return waiting.map(({ gateway }) => `${gateway}: its resources are not made yet`).join('; ');
      },
      targets: async () => {
        const still = await listReadOnlyTargets(db);
        return still.map(({ name, reason }) => `${name}: ${reason}; run chancery recover`).join('; ');
      },
    };
  }
}

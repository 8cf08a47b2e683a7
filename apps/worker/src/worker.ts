import { type Database, openDatabase } from '#platform/database/database.js';
import { listen } from '#platform/database/listener.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import { createWake, type Follower, type Wake } from '#platform/eventstore/follower.js';
import { failpoint } from '#platform/failpoint/failpoint.js';
import type { Queue } from '#platform/queue/queue.js';
import { type AgentIdentity, type DeliveryServer, startDeliveryServer } from '#platform/xds/delivery-server.js';
import { mutualTls, peerIdentity } from '#platform/xds/server-credentials.js';
import { Gateways } from './fold/gateways.js';
import { type LookContext, look } from './hot-restart/look.js';
import { LookRunner } from './hot-restart/look-runner.js';
import { Renderer } from './hot-restart/renderer.js';
import { LiveDelivery } from './live/live-delivery.js';
import { WorkerMetrics } from './metrics.js';
import { openQueueWhenThere } from './queue-opening.js';
import { Recorder } from './recorder.js';
import { followRedeployments } from './redeployments.js';
import { Confirmations } from './rollouts/confirmations.js';
import { Rollouts } from './rollouts/rollouts.js';
import { ClusterSecrets } from './secrets/cluster-secrets.js';
import { Secrets } from './secrets/secrets.js';
import { startStatusServer } from './status-server.js';
import { Sweep } from './sweep.js';
import { AgentHandlers, type AgentHandlersOptions } from './targets/agent-handlers.js';
import { StockEnvoys } from './targets/stock-envoys.js';
import { workerChecks } from './worker-checks.js';
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
  readonly #clusterSecrets: ClusterSecrets | undefined;
  readonly #rollouts: Rollouts;
  readonly #renderer: Renderer;
  readonly #live: LiveDelivery;
  readonly #secrets: Secrets;
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
    const world = { db, database: this.#database, events: this.#events, wake: this.#wake, log };
    this.#confirmations = new Confirmations({ ...world, ownPorts: options.ownPorts, everyMs: tuning.confirmationsMs });
    this.#gateways = this.#allGateways();
    this.#clusterSecrets = ClusterSecrets.open(options.secrets, world);
    this.#rollouts = new Rollouts({
      ...world,
      pollMs: tuning.pollMs,
      everyMs: tuning.wavesMs,
      versions: this.#gateways.versions,
      publisher: (gateway) => this.#live.publisher(gateway),
      onVersion: (gateway) => this.#gatewayChanged(gateway),
    });
    this.#secrets = new Secrets({
      ...{ db, log, tuning, keys: options.keys },
      fold: (gateway) => this.#gateways.fold(gateway),
      onChange: (gateway) => this.#secretsChanged(gateway),
    });
    this.#renderer = new Renderer(db, this.#gateways, this.#secrets, (...target) => this.#rollouts.steering.sourceOf(...target));
    this.#live = this.#liveDelivery();
    const authenticate = (token: string) => options.authenticate(token, { db, events: this.#events });
    this.#envoys = this.#stockEnvoys(authenticate);
    this.#handlers = this.#agentHandlers(authenticate);
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
    this.#clusterSecrets?.start();
    this.#rollouts.start();
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
        if (channel === 'chancery_aside') this.#live.heardOfAsides(name);
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
      this.#status = await startStatusServer({
        ...statusListen,
        registry: this.#metrics.registry,
        checks: workerChecks({ db: this.#database.db, gateways: this.#gateways, live: this.#live, queue: () => this.#queue }),
      });
    }
    return { port: this.#server.port, statusPort: this.#status?.port };
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#opening;
    await this.#sweep.close();
    await Promise.all([this.#rollouts.close(), this.#clusterSecrets?.close()]);
    await Promise.all([this.#gateways.close(), this.#redeployments?.close(), this.#listener?.close()]);
    await this.#envoys.close();
    await this.#server?.close();
    await this.#live.close();
    await this.#secrets.close();
    await this.#queue?.close();
    await this.#runner.close();
    await Promise.all([this.#recorder.close(), this.#confirmations.close()]);
    await Promise.all([this.#events.close(), this.#wake.close()]);
    await this.#status?.close();
    await this.#database.close();
  }

  #allGateways(): Gateways {
    return new Gateways({
      ...this.#options,
      ...{ database: this.#database, wake: this.#wake, pollMs: this.#tuning.pollMs },
      servicesFile: this.#options.servicesFile,
      onLoaded: async (fold) => {
        await this.#rollouts.loaded(fold);
        await this.#live.load(fold);
        this.#clusterSecrets?.gatewayLoaded();
      },
      onApplied: (fold, change, services) => {
        this.#rollouts.applied(fold, change); // first: what is not for every target must not be sent to any
        this.#live.apply(fold, change, services);
        this.#secrets.applied(fold.gateway, change);
        if (change.certificates.size > 0) this.#clusterSecrets?.certificatesChanged();
      },
      onVersionFound: (...found) => this.#rollouts.steering.found(...found),
      onChange: (gateway) => this.#gatewayChanged(gateway),
    });
  }

  #agentHandlers(authenticate: AgentHandlersOptions['authenticate']): AgentHandlers {
    return new AgentHandlers({
      db: this.#database.db,
      live: this.#live,
      worker: this.#options.name,
      log: this.#options.log,
      statsIntervalMs: this.#tuning.statsIntervalMs,
      authenticate,
      look: (target) => this.#runner.request(target),
      lookNow: (target) => this.#runner.runNow(target),
      onPushEnded: () => this.#recorder.kick(),
    });
  }

  #lookContext(): LookContext {
    const { pushDeadlineMs, readyDeadlineMs, validateDeadlineMs } = this.#tuning;
    return {
      ...{ pushDeadlineMs, readyDeadlineMs, validateDeadlineMs, db: this.#database.db, log: this.#options.log },
      worker: this.#options.name,
      gateways: this.#gateways,
      renderer: this.#renderer,
      live: this.#live,
      session: (target) => this.#handlers.session(target),
      onAnswer: (session, typeUrl, result) => this.#metrics.answered(session.gateway, typeUrl, result),
      onPushEnd: (result, durationMs, seenAtMs) => {
        this.#metrics.pushEnded(result.state, durationMs, seenAtMs);
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
      secrets: this.#secrets,
      sessions: () => this.#handlers.sessions(),
      onRecord: () => this.#recorder.kick(),
      onEnd: (...end) => this.#metrics.pushEnded(...end),
      onAnswer: (session, typeUrl, result) => this.#metrics.answered(session.gateway, typeUrl, result),
      hold: (gateway) => this.#rollouts.director.hold(gateway).state,
      onVerdict: (...verdict) => this.#rollouts.holds.take(...verdict),
      onPublisher: (gateway) => this.#rollouts.steering.steer(gateway),
      onLane: (publisher) => this.#envoys.update(publisher),
    });
  }

  #stockEnvoys(authenticate: (token: string) => Promise<AgentIdentity | undefined>): StockEnvoys {
    const { log, name: worker } = this.#options;
    return new StockEnvoys({
      ...{ db: this.#database.db, worker, log, authenticate },
      certificateOf: ({ call }) => peerIdentity(call)?.name,
      publisher: (gateway) => this.#live.publisher(gateway),
      onRefused: (...refusal) => this.#live.refused(...refusal),
    });
  }

  #secretsChanged(gateway: string): void {
    this.#live.publisher(gateway)?.takeSecrets();
    this.#clusterSecrets?.certificatesChanged();
    this.#gatewayChanged(gateway);
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

  async #openQueue(): Promise<void> {
    const { redisUrl, databaseUrl, log, queueName } = this.#options;
    const { queueLockMs: lockMs, backoffMs } = this.#tuning;
    const name = queueName === undefined ? {} : { name: queueName };
    this.#queue = await openQueueWhenThere({ redisUrl, databaseUrl, log, lockMs, backoffMs, ...name }, this.#closing.signal);
    if (this.#queue !== undefined) this.#runner.use(this.#queue);
  }
}

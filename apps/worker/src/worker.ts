import { listReadOnlyTargets } from '#features/rollout/lineage.table.js';
import { openDatabase } from '#platform/database/database.js';
import { listen } from '#platform/database/listener.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import { createWake } from '#platform/eventstore/follower.js';
import { failpoint } from '#platform/failpoint/failpoint.js';
import type { Log } from '#platform/log/log.js';
import { openQueue, type Queue } from '#platform/queue/queue.js';
import { type AgentIdentity, startDeliveryServer } from '#platform/xds/delivery-server.js';

import { AgentHandlers } from './agent-handlers.js';
import { Gateways } from './gateways.js';
import { type LookContext, look } from './look.js';
import { LookRunner } from './look-runner.js';
import { WorkerMetrics } from './metrics.js';
import { Recorder } from './recorder.js';
import { followRedeployments } from './redeployments.js';
import { Renderer } from './renderer.js';
import { type Check, startStatusServer } from './status-server.js';
import { Sweep } from './sweep.js';

export interface WorkerOptions {
  /** Unique among workers, also over restarts: it says who holds a target. */
  readonly name: string;
  readonly databaseUrl: string;
  readonly redisUrl?: string | undefined;
  readonly log: Log;
  readonly listen: { readonly host: string; readonly port: number };
  readonly statusListen?: { readonly host: string; readonly port: number } | undefined;
  readonly servicesFile?: string | undefined;
  readonly allowLoopback: boolean;
  readonly ownPorts: ReadonlySet<number>;
  /** Who presents this token; undefined or a DomainError for a bad one. */
  authenticate(token: string, db: import('#platform/database/database.js').Db): Promise<AgentIdentity | undefined>;
  readonly queueName?: string;
  readonly tuning?: Partial<Tuning>;
  lookup?(name: string): Promise<string[]>;
}

/** Periods and deadlines, all in milliseconds. */
export interface Tuning {
  readonly pollMs: number;
  readonly sweepMs: number;
  readonly silentMs: number;
  readonly awayMs: number;
  /** For a push, beyond the parent's drain. */
  readonly pushDeadlineMs: number;
  readonly readyDeadlineMs: number;
  readonly validateDeadlineMs: number;
  readonly statsIntervalMs: number;
  readonly queueLockMs: number;
  readonly backoffMs: number;
}

const defaults: Tuning = {
  pollMs: 1_000,
  sweepMs: 3_000,
  silentMs: 30_000,
  awayMs: 120_000,
  pushDeadlineMs: 120_000,
  readyDeadlineMs: 60_000,
  validateDeadlineMs: 30_000,
  statsIntervalMs: 5_000,
  queueLockMs: 30_000,
  backoffMs: 1_000,
};

export interface RunningWorker {
  /** Where agents dial in. */
  readonly port: number;
  readonly statusPort: number | undefined;
  /** Stops taking work, ends the agents' streams, closes everything. */
  close(): Promise<void>;
}

/** Starts a worker: it serves agents as soon as this resolves. The queue is opened beside that, as soon as its server answers. */
export async function startWorker(options: WorkerOptions): Promise<RunningWorker> {
  const { log } = options;
  const tuning = { ...defaults, ...options.tuning };
  const database = openDatabase({ url: options.databaseUrl, applicationName: 'chancery-worker', maxConnections: 20, log });
  const { db } = database;
  const wake = createWake(options.databaseUrl, log);
  const events = new EventStore({ database, log });
  const recorder = new Recorder({ db, events, log, pollMs: tuning.sweepMs });
  const lookAll = (gateway: string) => {
    failpoint('worker.afterReadBeforeEnqueue');
    for (const session of handlers.sessions()) if (session.gateway === gateway) runner.request(session.target);
  };
  const gateways = new Gateways({
    database,
    wake,
    log,
    pollMs: tuning.pollMs,
    servicesFile: options.servicesFile,
    allowLoopback: options.allowLoopback,
    ownPorts: options.ownPorts,
    onChange: lookAll,
    ...(options.lookup === undefined ? {} : { lookup: options.lookup }),
  });
  const handlers: AgentHandlers = new AgentHandlers({
    db,
    worker: options.name,
    log,
    statsIntervalMs: tuning.statsIntervalMs,
    authenticate: (token) => options.authenticate(token, db),
    look: (target) => runner.request(target),
    onPushEnded: () => recorder.kick(),
  });
  let queue: Queue | undefined;
  const metrics = new WorkerMetrics({ db, gateways, queue: () => queue, sessions: () => handlers.sessions() });
  const context: LookContext = {
    db,
    worker: options.name,
    gateways,
    renderer: new Renderer(db, gateways),
    log,
    ...tuning,
    session: (target) => handlers.session(target),
    onAnswer: (session, typeUrl, result) => metrics.answered(session.gateway, typeUrl, result),
    onPushEnd: (_session, result, durationMs) => {
      metrics.pushed(result.state, durationMs);
      if (result.state === 'proven') metrics.propagated(durationMs);
      recorder.kick();
    },
  };
  const runner: LookRunner = new LookRunner({ log, look: (one) => look(context, one) });
  const sweep = new Sweep({
    db,
    worker: options.name,
    gateways,
    log,
    everyMs: tuning.sweepMs,
    silentMs: tuning.silentMs,
    awayMs: tuning.awayMs,
    sessions: () => handlers.sessions(),
    look: (target, always) => runner.request(target, { always }),
  });
  await gateways.start();
  const redeployments = followRedeployments({
    database,
    wake,
    log,
    pollMs: tuning.pollMs,
    onRequested: (gateway) => {
      for (const session of handlers.sessions()) {
        if (session.gateway !== gateway) continue;
        session.nudges += 1;
        session.changed();
        runner.request(session.target);
      }
    },
  });
  const listener = listen({
    url: options.databaseUrl,
    channels: ['chancery_look'],
    onNotify: (_channel, target) => {
      if (handlers.session(target) !== undefined) runner.runNow(target);
    },
    onReconnect: () => undefined, // what was missed meanwhile is the sweep's
    log,
  });
  const server = await startDeliveryServer({ ...options.listen, handlers, log });
  const closing = new AbortController();
  const opening = openQueueWhenItAnswers(options, tuning, closing.signal).then((opened) => {
    queue = opened;
    if (opened !== undefined) runner.use(opened);
  });
  recorder.start();
  sweep.start();
  const status =
    options.statusListen === undefined
      ? undefined
      : await startStatusServer({
          ...options.statusListen,
          registry: metrics.registry,
          checks: checksOf({ db, gateways, sweep, tuning, queue: () => queue }),
        });

  return {
    port: server.port,
    statusPort: status?.port,
    close: async () => {
      closing.abort();
      await opening;
      await sweep.close();
      await Promise.all([gateways.close(), redeployments.close(), listener.close()]);
      await server.close();
      await queue?.close();
      await runner.close();
      await recorder.close();
      await events.close();
      await wake.close();
      await status?.close();
      await database.close();
    },
  };
}

async function openQueueWhenItAnswers(options: WorkerOptions, tuning: Tuning, signal: AbortSignal): Promise<Queue | undefined> {
  for (let waitMs = 200; !signal.aborted; waitMs = Math.min(5_000, waitMs * 2)) {
    try {
      return await openQueue({
        redisUrl: options.redisUrl,
        databaseUrl: options.databaseUrl,
        log: options.log,
        lockMs: tuning.queueLockMs,
        backoffMs: tuning.backoffMs,
        ...(options.queueName === undefined ? {} : { name: options.queueName }),
      });
    } catch (err) {
      options.log.error({ err }, 'the queue cannot be opened yet; targets are looked at by the sweep alone');
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs);
        signal.addEventListener('abort', () => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }
  return undefined;
}

function checksOf(parts: {
  readonly db: import('#platform/database/database.js').Db;
  readonly gateways: Gateways;
  readonly sweep: Sweep;
  readonly tuning: Tuning;
  queue(): Queue | undefined;
}): Record<string, Check> {
  return {
    database: async () => {
      await parts.db.selectNoFrom((select) => select.val(1).as('one')).execute();
      return '';
    },
    queue: () => (parts.queue() === undefined ? 'not open yet' : ''),
    services_file: () => parts.gateways.servicesFileError,
    targets: async () => {
      const still = await listReadOnlyTargets(parts.db);
      return still.length === 0 ? '' : still.map(({ name, reason }) => `${name}: ${reason}; run chancery recover`).join('; ');
    },
  };
}

import { setTimeout as sleep } from 'node:timers/promises';

import { Queue as BullQueue, type Job, type QueueOptions, UnrecoverableError, Worker, type WorkerOptions } from 'bullmq';

import type { Log } from '#platform/log/log.js';
import { openPostgresConnection } from './postgres-connection.js';
import type { QueueConnection } from './queue-connection.js';
import { openRedisConnection } from './redis-connection.js';

/**
 * The queue of "look at target X". A job is a hint: it carries a name, never data that must be trusted, and losing, repeating
 * or delaying one changes nothing but the moment at which a target is looked at. The truth is in the rows of the rollout.
 *
 * One job per target is waiting or running at any time; what is added while one runs makes one more run after it.
 */
export interface Queue {
  /**
   * Asks for a look at a target. `hurry` also wakes a job that waits for its next attempt.
   * @throws Error when the queue's server cannot be reached now; whoever needs the job again must add it again.
   */
  add(target: string, options?: { readonly hurry?: boolean }): Promise<void>;
  /**
   * Ends the queue's belief that it has a job for this target, for whoever saw that none came: the next one added is one of its own. A job
   * that is there all the same is run, too.
   */
  forget(target: string): Promise<void>;
  /** Starts taking jobs. The processor throws to have the job again later, with back-off. */
  work(processor: (look: Look) => Promise<void>, options?: { readonly concurrency?: number }): void;
  /** Jobs by state. */
  counts(): Promise<Record<string, number>>;
  /** Stops taking jobs, waits for the running ones (at most `graceMs`), closes the connections. */
  close(graceMs?: number): Promise<void>;
}

export interface Look {
  readonly target: string;
  /** 1 for the first try. */
  readonly attempt: number;
}

export interface OpenQueueOptions {
  /** With it the jobs are in Redis, without in Postgres. */
  readonly redisUrl?: string | undefined;
  readonly databaseUrl: string;
  readonly log: Log;
  readonly name?: string;
  /** How long a job's lock lives without renewal: a worker that died is noticed after it. */
  readonly lockMs?: number;
  readonly attempts?: number;
  /** First back-off; it doubles with each attempt up to a minute, with jitter. */
  readonly backoffMs?: number;
}

const targetName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const longestBackoffMs = 60_000;

/**
 * Opens the queue on Redis or Postgres. The schema of the Postgres backend is migrated here.
 * @throws DomainError unavailable when the server does not answer; invalid `redis_may_evict` when Redis may throw jobs away.
 */
export async function openQueue(options: OpenQueueOptions): Promise<Queue> {
  const connection =
    options.redisUrl === undefined
      ? await openPostgresConnection(options.databaseUrl, options.log)
      : await openRedisConnection(options.redisUrl, options.log);
  return new TargetQueue(connection, options);
}

class TargetQueue implements Queue {
  readonly #connection: QueueConnection;
  readonly #options: OpenQueueOptions;
  readonly #queue: BullQueue;
  readonly #log: Log;
  readonly #running = new Set<Promise<void>>();
  #worker: Worker | undefined;

  constructor(connection: QueueConnection, options: OpenQueueOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#log = options.log;
    const queueOptions: QueueOptions = {
      connection: connection.queue,
      defaultJobOptions: {
        attempts: options.attempts ?? 8,
        backoff: { type: 'custom' },
        removeOnComplete: true,
        removeOnFail: { count: 1_000 },
      },
    };
    this.#queue =
      connection.factory === undefined
        ? new BullQueue(this.#name, queueOptions)
        : new BullQueue(this.#name, queueOptions, connection.factory as never);
    this.#queue.on('error', (err) => this.#log.warn({ err }, 'the queue has trouble with its server'));
  }

  get #name(): string {
    return this.#options.name ?? 'deploy';
  }

  async add(target: string, { hurry = false } = {}): Promise<void> {
    if (!targetName.test(target)) throw new RangeError(`not the name of a target: ${JSON.stringify(target)}`);
    const deduplication = { id: deduplicationOf(target), keepLastIfActive: true, ...(hurry ? { reschedule: true } : {}) };
    await this.#queue.add('look', { target }, { deduplication });
  }

  async forget(target: string): Promise<void> {
    await this.#queue.removeDeduplicationKey(deduplicationOf(target));
  }

  work(processor: (look: Look) => Promise<void>, { concurrency = 50 } = {}): void {
    if (this.#worker !== undefined) throw new Error('this queue is being worked already');
    const lockDuration = this.#options.lockMs ?? 30_000;
    const firstMs = this.#options.backoffMs ?? 1_000;
    const workerOptions: WorkerOptions = {
      connection: this.#connection.worker,
      concurrency,
      lockDuration,
      stalledInterval: Math.max(500, Math.floor(lockDuration / 2)),
      maxStalledCount: 5,
      settings: { backoffStrategy: (attempt) => backoffMs(attempt, firstMs, Math.random()) },
    };
    const handle = (job: Job) => this.#process(job, processor);
    const { factory } = this.#connection;
    this.#worker =
      factory === undefined
        ? new Worker(this.#name, handle, workerOptions)
        : new Worker(this.#name, handle, workerOptions, factory as never);
    this.#worker.on('error', (err) => this.#log.warn({ err }, 'the queue has trouble with its server'));
    this.#worker.on('failed', (job, err) =>
      this.#log.warn({ err, target: job?.data?.target, attempt: job?.attemptsMade }, 'a look at a target failed'),
    );
    this.#worker.on('stalled', (id) => this.#log.warn({ job: id }, 'a job stalled and is taken up again'));
  }

  async counts(): Promise<Record<string, number>> {
    return this.#queue.getJobCounts('waiting', 'active', 'delayed', 'failed');
  }

  async close(graceMs = 5_000): Promise<void> {
    const worker = this.#worker;
    if (worker !== undefined) {
      // The library's own close either waits for ever or not at all, and cannot change its mind.
      await worker.pause(true);
      const running = Promise.allSettled([...this.#running]);
      const timer = new AbortController();
      await Promise.race([running, sleep(graceMs, undefined, { signal: timer.signal }).catch(() => undefined)]);
      timer.abort();
      await worker.close(true);
    }
    await this.#queue.close();
    await this.#connection.close();
  }

  async #process(job: Job, processor: (look: Look) => Promise<void>): Promise<void> {
    const run = processor(readLook(job));
    this.#running.add(run);
    try {
      await run;
    } finally {
      this.#running.delete(run);
    }
  }
}

function deduplicationOf(target: string): string {
  return `look-${target}`;
}

/** Exponential from `firstMs`, at most a minute, and between half and all of that so that targets that failed together do not return together. */
export function backoffMs(attempt: number, firstMs: number, random: number): number {
  const full = Math.min(longestBackoffMs, firstMs * 2 ** Math.min(20, attempt - 1));
  return Math.round(full * (0.5 + random / 2));
}

/** The queue is not trusted: a job that is not ours goes to the failed ones at once and is not tried again. */
function readLook(job: Job): Look {
  const target: unknown = job.data?.target;
  if (job.name !== 'look' || typeof target !== 'string' || !targetName.test(target)) {
    throw new UnrecoverableError('not a job of this queue');
  }
  return { target, attempt: job.attemptsMade + 1 };
}

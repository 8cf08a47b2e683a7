import { type DeploymentView, listUnrecorded } from '#features/rollout/deployment.table.js';
import { markRecorded } from '#features/rollout/deployment-record.table.js';
import { recordDeployment } from '#features/rollout/record-deployment.js';
import type { Db } from '#platform/database/database.js';
import type { EventStore } from '#platform/eventstore/event-store.js';
import { failpoint } from '#platform/failpoint/failpoint.js';
import type { Log } from '#platform/log/log.js';

const MOST_AT_ONCE = 100;

/**
 * Writes the terminal record of each push into the log: beside the pushes, never in their way, again and again until it is there.
 * The rows are its memory, so a crash anywhere loses nothing; any worker records what any other pushed.
 */
export class Recorder {
  readonly #db: Db;
  readonly #events: EventStore;
  readonly #log: Log;
  readonly #pollMs: number;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #again = false;
  #closed = false;

  constructor(options: { readonly db: Db; readonly events: EventStore; readonly log: Log; readonly pollMs: number }) {
    this.#db = options.db;
    this.#events = options.events;
    this.#log = options.log;
    this.#pollMs = options.pollMs;
  }

  start(): void {
    this.#timer = setInterval(() => this.kick(), this.#pollMs);
    this.kick();
  }

  /** There may be something to record. */
  kick(): void {
    if (this.#closed) return;
    this.#again = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#running;
  }

  async #run(): Promise<void> {
    try {
      while (this.#again && !this.#closed) {
        this.#again = false;
        const ended = await listUnrecorded(this.#db, MOST_AT_ONCE);
        await this.#record(ended);
        this.#again ||= ended.length === MOST_AT_ONCE;
      }
    } catch (err) {
      this.#log.warn({ err }, 'the record of a push could not be written yet');
    }
  }

  async #record(ended: readonly DeploymentView[]): Promise<void> {
    const recorded: { id: string; version: number }[] = [];
    try {
      for (const deployment of ended) {
        failpoint('worker.beforeRecord');
        const { version } = await recordDeployment(this.#events, deployment);
        recorded.push({ id: deployment.id, version });
      }
    } finally {
      await markRecorded(this.#db, recorded);
    }
  }
}

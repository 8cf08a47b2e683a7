import { listUnrecorded, markRecorded } from '#features/rollout/deployment-record.table.js';
import { recordDeployment } from '#features/rollout/record-deployment.js';
import type { Db } from '#platform/database/database.js';
import type { EventStore } from '#platform/eventstore/event-store.js';
import { failpoint } from '#platform/failpoint/failpoint.js';
import type { Log } from '#platform/log/log.js';

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
        for (const deployment of await listUnrecorded(this.#db, 100)) {
          failpoint('worker.beforeRecord');
          const outcome = await recordDeployment(this.#events, deployment);
          await markRecorded(this.#db, deployment.id, outcome.version);
          this.#again = true;
        }
      }
    } catch (err) {
      this.#log.warn({ err }, 'the record of a push could not be written yet');
    }
  }
}

import { setTimeout as sleep } from 'node:timers/promises';

import { listParkedAudit, parkAudit, projectAudit } from '#features/audit/audit.projection.js';
import type { Database } from '#platform/database/database.js';
import { classify } from '#platform/eventstore/database-errors.js';
import { listStreams } from '#platform/eventstore/read-log.js';
import type { Wake } from '#platform/eventstore/wake.js';
import { failpoint } from '#platform/failpoint/failpoint.js';
import type { Log } from '#platform/log/log.js';

const POLL_MS = 1_000;
/** Versions a transaction. Twice as many are hardly faster, and a reader waits for a commit. */
const BATCH = 5_000;
const RETRY_MS = { first: 50, most: 5_000 };

export interface AuditProjector {
  /** Resolves when everything that is recorded now is in the trail, parked streams excepted. */
  caughtUp(): Promise<void>;
  /** Ends after the batch under way. */
  close(): Promise<void>;
}

/**
 * Projects every stream of the log into the trail. It remembers nothing between two batches but which streams it passes over: cursors and positions are read
 * under a lock in the transaction that writes, so a second projector, a rebuild or a lost commit cannot make it write a row twice or leave one out.
 *
 * A version that cannot be projected, for a reason that lies in it and not in the moment, parks its stream with the reason; the others go on. A start tries
 * a parked stream again (the program may know better by now). No failure gets out of here: it is logged, and tried again.
 */
export function startAuditProjector(options: {
  readonly database: Database;
  readonly wake: Wake;
  readonly log: Log;
  onApplied(versions: number): void;
}): AuditProjector {
  const projector = new Projector(options);
  return { caughtUp: () => projector.caughtUp(), close: () => projector.close() };
}

class Projector {
  readonly #database: Database;
  readonly #log: Log;
  readonly #onApplied: (versions: number) => void;
  readonly #unsubscribe: () => void;
  readonly #closing = new AbortController();
  readonly #passedOver = new Set<string>();
  readonly #running: Promise<void>;
  #waiters: (() => void)[] = [];
  #look: () => void = () => undefined;
  #due = true;

  constructor({ database, wake, log, onApplied }: { database: Database; wake: Wake; log: Log; onApplied(versions: number): void }) {
    this.#database = database;
    this.#log = log;
    this.#onApplied = onApplied;
    this.#unsubscribe = wake.subscribe(() => this.#wake());
    this.#running = this.#run();
  }

  caughtUp(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.push(resolve);
      this.#wake();
    });
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#unsubscribe();
    this.#wake();
    await this.#running;
  }

  #wake(): void {
    this.#due = true;
    this.#look();
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    for (let retryMs = RETRY_MS.first; !signal.aborted; ) {
      try {
        this.#due = false;
        const waiters = this.#waiters; // who asks while a batch is under way waits for the next one, which sees what was recorded then
        this.#waiters = [];
        try {
          while (!signal.aborted && (await this.#step()));
        } catch (error) {
          this.#waiters.push(...waiters);
          throw error;
        }
        for (const resolve of waiters) resolve();
        retryMs = RETRY_MS.first;
        await this.#untilDue();
      } catch (err) {
        this.#log.error({ err }, 'the trail could not be projected; it is tried again');
        await sleep(retryMs, undefined, { signal }).catch(() => undefined); // aborted: the loop ends
        retryMs = Math.min(retryMs * 2, RETRY_MS.most);
      }
    }
  }

  /** Until the log says that something moved, and after a while without a word as well: notifications may be lost. */
  async #untilDue(): Promise<void> {
    if (this.#due) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, POLL_MS);
      this.#look = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** @returns whether there is more to project. */
  async #step(): Promise<boolean> {
    if (this.#passedOver.size > 0) await this.#forgetLifted();
    try {
      return (await this.#project({ limit: BATCH })).more;
    } catch (error) {
      if (!isPoison(error)) throw error;
      return this.#findPoison();
    }
  }

  async #project(batch: {
    readonly limit: number;
    readonly only?: string;
  }): Promise<{ readonly projected: number; readonly more: boolean }> {
    failpoint('projector.beforeAudit');
    const done = await projectAudit(this.#database.db, { ...batch, passedOver: [...this.#passedOver] });
    failpoint('projector.afterAudit');
    this.#onApplied(done.projected);
    return done;
  }

  /** Each stream by itself, and version by version where that fails: what fails alone is what cannot be projected. */
  async #findPoison(): Promise<boolean> {
    let any = false;
    for (const { stream } of await listStreams(this.#database.db, '%')) {
      if (this.#passedOver.has(stream)) continue;
      for (let limit = BATCH; limit > 0 && !this.#closing.signal.aborted; ) {
        try {
          const { projected, more } = await this.#project({ limit, only: stream });
          any ||= projected > 0;
          if (!more) break;
        } catch (error) {
          if (!isPoison(error)) throw error;
          if (limit === 1) await this.#park(stream, error);
          limit = limit === 1 ? 0 : Math.ceil(limit / 10);
        }
      }
    }
    return any;
  }

  /** A rebuild lifts what was parked. */
  async #forgetLifted(): Promise<void> {
    const parked = new Set((await listParkedAudit(this.#database.db)).map(({ stream }) => stream));
    for (const stream of this.#passedOver) if (!parked.has(stream)) this.#passedOver.delete(stream);
  }

  async #park(stream: string, error: unknown): Promise<void> {
    const reason = error instanceof Error ? error.message : String(error);
    const parked = await this.#database.db.transaction().execute((tx) => parkAudit(tx, stream, reason));
    this.#passedOver.add(stream);
    this.#log.error(
      { err: error, stream, version: parked.version },
      'a version cannot be projected: the trail leaves this stream out from there on',
    );
  }
}

/** Does the failure lie in the version (a value that a column cannot hold, a gap before it) and not in the moment? A table that is missing concerns all. */
function isPoison(error: unknown): boolean {
  if (error instanceof Error && error.message.startsWith('failpoint ')) return false;
  return ['unstorable', 'defect'].includes(classify(error)) && !/^(42|3F)/.test(String((error as { code?: unknown }).code ?? ''));
}

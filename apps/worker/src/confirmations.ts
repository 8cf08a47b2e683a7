import { gatewayKind } from '#features/gateway/gateway.kind.js';
import { SubjectKinds } from '#features/history/subject-kind.js';
import { mappingKind } from '#features/mapping/mapping.kind.js';
import { principalKind } from '#features/principal/principal.kind.js';
import type { AwaitedVersion } from '#features/restore/confirmation.js';
import { listOverdue } from '#features/restore/confirmation.table.js';
import { settleConfirmation } from '#features/restore/settle-confirmation.js';
import type { Db } from '#platform/database/database.js';
import type { EventStore } from '#platform/eventstore/event-store.js';
import type { Log } from '#platform/log/log.js';

export interface ConfirmationsOptions {
  readonly db: Db;
  readonly events: EventStore;
  readonly log: Log;
  readonly ownPorts: ReadonlySet<number>;
  /** Period; each round is up to a quarter earlier or later, so that workers do not look in step. Milliseconds. */
  readonly everyMs: number;
}

const AT_ONCE = 100;
/** A version that cannot be settled is tried less and less often, and does not stop the others. */
const LONGEST_PAUSE_MS = 60_000;

interface Failures {
  readonly count: number;
  readonly againAtMs: number;
}

/**
 * Ends the wait for versions that nobody confirmed in time: they are undone. The rows and the log are its only memory, so any worker does it, any
 * number of them may, and one that starts after the deadline does what was left undone.
 */
export class Confirmations {
  readonly #options: ConfirmationsOptions;
  readonly #kinds: SubjectKinds;
  readonly #failures = new Map<string, Failures>();
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: ConfirmationsOptions) {
    this.#options = options;
    this.#kinds = new SubjectKinds([gatewayKind, mappingKind(options.ownPorts), principalKind]);
  }

  start(): void {
    this.#plan();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#round;
  }

  #plan(): void {
    if (this.#closed) return;
    const delayMs = this.#options.everyMs * (0.75 + Math.random() / 2);
    this.#timer = setTimeout(() => {
      this.#round = this.#look()
        .catch((err: unknown) =>
          this.#options.log.warn({ err }, 'unconfirmed versions could not be looked for; the next round begins anew'),
        )
        .then(() => this.#plan());
    }, delayMs);
  }

  async #look(): Promise<void> {
    const overdue = await listOverdue(this.#options.db, AT_ONCE + this.#failures.size);
    const open = new Set(overdue.map(keyOf));
    for (const key of this.#failures.keys()) if (!open.has(key)) this.#failures.delete(key); // another worker has settled it
    for (const awaited of overdue) {
      if (this.#closed) return;
      await this.#settle(awaited);
    }
  }

  async #settle(awaited: AwaitedVersion): Promise<void> {
    const { db, events, log } = this.#options;
    const { gateway, version } = awaited;
    const key = keyOf(awaited);
    const failures = this.#failures.get(key);
    if (failures !== undefined && failures.againAtMs > performance.now()) return;
    try {
      const settled = await settleConfirmation({ db, events, kinds: this.#kinds }, awaited);
      this.#failures.delete(key);
      log.info({ gateway, version, settled }, 'the wait for a confirmation has ended');
    } catch (err) {
      const count = (failures?.count ?? 0) + 1;
      const pauseMs = Math.min(this.#options.everyMs * 2 ** count, LONGEST_PAUSE_MS);
      this.#failures.set(key, { count, againAtMs: performance.now() + pauseMs });
      log.warn({ err, gateway, version, pauseMs }, 'an unconfirmed version could not be undone yet; it is tried again');
    }
  }
}

function keyOf({ gateway, version }: AwaitedVersion): string {
  return `${gateway}/${version}`;
}

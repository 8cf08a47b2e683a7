import { certificateKind } from '#features/certificate/certificate.kind.js';
import { gatewayKind } from '#features/gateway/gateway.kind.js';
import { SubjectKinds } from '#features/history/subject-kind.js';
import { mappingKind } from '#features/mapping/mapping.kind.js';
import { principalKind } from '#features/principal/principal.kind.js';
import type { AwaitedVersion } from '#features/restore/confirmation.js';
import { listOverdue } from '#features/restore/confirmation.table.js';
import { settleConfirmation } from '#features/restore/settle-confirmation.js';
import { routeTestKind } from '#features/route-test/route-test.kind.js';
import type { Db } from '#platform/database/database.js';
import type { EventStore } from '#platform/eventstore/event-store.js';
import type { Log } from '#platform/log/log.js';

import { Rounds } from '../rounds.js';

export interface ConfirmationsOptions {
  readonly db: Db;
  readonly events: EventStore;
  readonly log: Log;
  readonly ownPorts: ReadonlySet<number>;
  /** See Rounds. */
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
  readonly #rounds: Rounds;

  constructor(options: ConfirmationsOptions) {
    this.#options = options;
    this.#kinds = new SubjectKinds([gatewayKind, mappingKind(options.ownPorts), principalKind, routeTestKind, certificateKind]);
    this.#rounds = new Rounds({
      everyMs: options.everyMs,
      round: () => this.#look(),
      onError: (err) => options.log.warn({ err }, 'unconfirmed versions could not be looked for; the next round begins anew'),
    });
  }

  start(): void {
    this.#rounds.start();
  }

  close(): Promise<void> {
    return this.#rounds.close();
  }

  async #look(): Promise<void> {
    const overdue = await listOverdue(this.#options.db, AT_ONCE + this.#failures.size);
    const open = new Set(overdue.map(keyOf));
    for (const key of this.#failures.keys()) if (!open.has(key)) this.#failures.delete(key); // another worker has settled it
    for (const awaited of overdue) {
      if (this.#rounds.closed) return;
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

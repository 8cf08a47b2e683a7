import { releaseNotReady } from '#features/rollout/set-aside.table.js';
import { endAbandonedPushes, listDueTargets } from '#features/rollout/sweep.table.js';
import { forgetSilentTargets, heartbeat } from '#features/rollout/target-stream.table.js';
import type { Db } from '#platform/database/database.js';
import type { Log } from '#platform/log/log.js';

import type { Gateways } from './fold/gateways.js';
import type { LiveDelivery } from './live/live-delivery.js';
import { Rounds } from './rounds.js';
import { UPSTREAM_NOT_READY } from './statuses/set-asides.js';
import type { StockEnvoys } from './targets/stock-envoys.js';
import type { TargetSession } from './targets/target-session.js';

export interface SweepOptions {
  readonly db: Db;
  readonly worker: string;
  readonly gateways: Gateways;
  readonly live: LiveDelivery;
  readonly log: Log;
  /** See Rounds. */
  readonly everyMs: number;
  /** A worker that has not been seen for this long holds nothing any more. Milliseconds. */
  readonly silentMs: number;
  readonly awayMs: number;
  /** Mappings whose upstream was not ready get another chance after this. Milliseconds. */
  readonly notReadyMs: number;
  sessions(): TargetSession[];
  /** Those without an agent. */
  readonly envoys: StockEnvoys;
  look(target: string): void;
}

/**
 * What everything else may fail to do happens here: targets that are not where their rows and the log say they should be are looked
 * at again, silent ones are given up. It reads nothing but rows and memory, so an emptied queue or a lost notification costs one period.
 */
export class Sweep {
  readonly #options: SweepOptions;
  readonly #rounds: Rounds;
  lastRoundMs = 0;

  constructor(options: SweepOptions) {
    this.#options = options;
    this.#rounds = new Rounds({
      everyMs: options.everyMs,
      round: () => this.#sweep(),
      onError: (err) => options.log.warn({ err }, 'the sweep could not be finished; the next one begins anew'),
    });
  }

  start(): void {
    this.#rounds.start();
  }

  close(): Promise<void> {
    return this.#rounds.close();
  }

  async #sweep(): Promise<void> {
    const { db, worker, live, silentMs, awayMs, notReadyMs } = this.#options;
    const sessions = this.#options.sessions();
    const envoys = this.#options.envoys.owners();
    const lost = await heartbeat(db, [...sessions.map(({ owner }) => owner), ...envoys]);
    for (const owner of lost) {
      this.#options.envoys.lost(owner);
      const session = sessions.find((candidate) => candidate.owner === owner);
      session?.delivery.close('another stream of this target was opened');
    }
    await forgetSilentTargets(db, { silentMs, awayMs });
    await endAbandonedPushes(db, awayMs);
    await releaseNotReady(db, UPSTREAM_NOT_READY, notReadyMs);
    await live.sweep();
    const dueByRow = new Set(await listDueTargets(db, worker));
    for (const session of sessions) this.#check(session, dueByRow.has(session.target));
    this.lastRoundMs = Date.now();
  }

  #check(session: TargetSession, dueByRow: boolean): void {
    const generation = this.#options.gateways.generation(session.gateway);
    const settled = session.settledKey.startsWith(`${generation} `);
    if (session.open && (!settled || dueByRow)) this.#options.look(session.target);
  }
}

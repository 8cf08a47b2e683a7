import { endHold, holdPush } from '#features/promotion/hold.js';
import { type HoldState, rolloutStreamOf } from '#features/promotion/promotion.js';
import type { Shrink } from '#features/promotion/shrink.js';
import type { EventStore, NewEvent, View } from '#platform/eventstore/event-store.js';
import { derivedUuid } from '#platform/kernel/digest.js';
import type { Log } from '#platform/log/log.js';

import { Rounds } from '../rounds.js';

export interface PushHoldsOptions {
  readonly events: EventStore;
  readonly log: Log;
  /** See Rounds. */
  readonly everyMs: number;
  hold(gateway: string): { readonly state: HoldState | null; readonly version: number };
}

interface Verdict {
  readonly version: number;
  readonly shrink: Shrink;
  readonly sinceMs: number;
}

/** A push may be held for a moment without anybody hearing of it: a worker that has just started has not looked up every name yet. Milliseconds. */
const SETTLED_MS = 2_000;
/** Another worker's hold that this one sees no reason for ends after this: that worker may be dead. Milliseconds. */
const STALE_MS = 60_000;

/** Records which pushes are held, and that they are not any more. */
export class PushHolds {
  readonly #options: PushHoldsOptions;
  readonly #rounds: Rounds;
  readonly #verdicts = new Map<string, Verdict>();
  /** By gateway: the hold that this worker had a reason for, or has seen for the first time. */
  readonly #seen = new Map<string, { id: string; own: boolean; sinceMs: number }>();

  constructor(options: PushHoldsOptions) {
    this.#options = options;
    this.#rounds = new Rounds({
      everyMs: options.everyMs,
      round: () => this.#look(),
      onError: (err) => options.log.warn({ err }, 'held pushes could not be recorded; the next round begins anew'),
    });
  }

  start(): void {
    this.#rounds.start();
  }

  close(): Promise<void> {
    return this.#rounds.close();
  }

  /** What the push of a version would lose that is held back here; undefined when none is. */
  take(gateway: string, version: number, shrink: Shrink | undefined): void {
    if (shrink === undefined) this.#verdicts.delete(gateway);
    else this.#verdicts.set(gateway, { version, shrink, sinceMs: this.#verdicts.get(gateway)?.sinceMs ?? performance.now() });
    this.#seen.set(gateway, this.#seen.get(gateway) ?? { id: '', own: false, sinceMs: 0 });
  }

  async #look(): Promise<void> {
    for (const gateway of this.#seen.keys()) {
      try {
        await this.#lookAt(gateway);
      } catch (err) {
        this.#options.log.warn({ err, gateway }, 'a held push could not be recorded; the next round does it');
      }
    }
  }

  async #lookAt(gateway: string): Promise<void> {
    const { hold, log } = this.#options;
    const verdict = this.#verdicts.get(gateway);
    const { state, version: of } = hold(gateway);
    const now = performance.now();
    if (verdict !== undefined) {
      const { shrink, version } = verdict;
      this.#seen.set(gateway, { id: shrink.id, own: true, sinceMs: now });
      if (state?.id === shrink.id || now - verdict.sinceMs < SETTLED_MS) return;
      log.error(
        { gateway, version, losses: shrink.losses, hold: shrink.id },
        'a push would lose too much; it is held until somebody confirms it',
      );
      await this.#record(gateway, `${of}\nhold\n${shrink.id}`, 'HoldPush', holdPush(version, shrink));
      return;
    }
    if (state?.state !== 'held') return;
    const seen = this.#seen.get(gateway);
    if (seen?.id !== state.id) this.#seen.set(gateway, { id: state.id, own: false, sinceMs: now });
    else if (seen.own || now - seen.sinceMs > STALE_MS)
      await this.#record(gateway, `${of}\nend\n${state.id}`, 'EndHold', endHold(state.id));
  }

  async #record(gateway: string, what: string, action: string, decide: (view: View) => NewEvent[]): Promise<void> {
    const context = { commandId: derivedUuid(`hold\n${gateway}\n${what}`), action, actor: 'system', reason: null };
    await this.#options.events.handle({ stream: rolloutStreamOf(gateway), subjects: ['hold'], context }, decide);
  }
}

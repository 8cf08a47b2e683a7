import { randomUUID } from 'node:crypto';

import type { EventStore } from '#platform/eventstore/event-store.js';
import { addressKey } from '#platform/http/address-key.js';
import type { AttemptRecorder, RefusedAttempt } from '#platform/http/refused-attempt.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import type { Log } from '#platform/log/log.js';

import { AttemptCounter } from './attempt-counter.js';
import {
  ANONYMOUS,
  attemptSubject,
  type CountedSource,
  floodSubject,
  keptPointers,
  namedBy,
  REFUSALS_STREAM,
  recordAttempt,
  recordCounts,
} from './audit.js';

const FLUSH_MS = 1_000;

/** Counts on their way to the log: the same under the same key, however often they are sent. */
interface Flush {
  readonly key: string;
  readonly actor: string;
  readonly sources: readonly CountedSource[];
}

/**
 * Records refused attempts in the stream `refusals`. A token's are recorded one by one before the answer goes out, the first 60 of a minute; beyond that,
 * and for whoever has no good token, they are counted, and the counts recorded each second. A process that is killed loses at most the counts of that second.
 */
export class RefusalLog implements AttemptRecorder {
  readonly #events: EventStore;
  readonly #log: Log;
  readonly #counter: AttemptCounter;
  readonly #timer: NodeJS.Timeout;
  #unsent: Flush[] = [];
  #flushing: Promise<void> | undefined;

  constructor(options: { readonly events: EventStore; readonly log: Log; readonly now?: (() => number) | undefined }) {
    this.#events = options.events;
    this.#log = options.log;
    this.#counter = new AttemptCounter(options.now);
    this.#timer = setInterval(() => void this.flush(), FLUSH_MS);
    this.#timer.unref();
  }

  /** @throws DomainError as EventStore.handle, for an attempt that is recorded by itself. */
  async record(attempt: RefusedAttempt): Promise<void> {
    const { caller } = attempt;
    if (caller === undefined) return this.#counter.count(addressKey(attempt.address), attempt, true);
    if (attempt.status === 429 || !this.#counter.mayRecord(caller.actor)) return this.#counter.count(caller.actor, attempt, false);
    const id = randomUUID();
    const { method, route, status, code, requestId, commandId, dryRun } = attempt;
    const state = {
      method,
      route,
      ...namedBy(route, attempt.parameters),
      status,
      code,
      pointers: keptPointers(attempt.pointers),
      requestId,
      commandId,
      dryRun,
    };
    const context = { commandId: id, action: 'RefuseAttempt', actor: caller.actor, requestId };
    await this.#events.handle({ stream: REFUSALS_STREAM, subjects: [attemptSubject(id)], context }, recordAttempt(id, state));
  }

  /** Records what was counted. Never rejects: what could not be recorded is tried again at the next second. */
  flush(): Promise<void> {
    this.#flushing ??= this.#flush().finally(() => {
      this.#flushing = undefined;
    });
    return this.#flushing;
  }

  /** Records what is left. The event store must still be open. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#flushing; // it may have begun before the last attempt was counted
    await this.flush();
    if (this.#unsent.length === 0) await this.flush(); // the first one may have sent what an earlier one could not
  }

  async #flush(): Promise<void> {
    const flushes = [...this.#unsent];
    if (flushes.length === 0) flushes.push(...asFlushes(this.#counter.take())); // one after the other: the counter is bounded, what is unsent is not
    const left = await Promise.all(flushes.map((flush) => this.#send(flush)));
    this.#unsent = left.filter((flush) => flush !== undefined);
  }

  /** The flush itself when it is to be sent again. */
  async #send(flush: Flush): Promise<Flush | undefined> {
    const { key, actor, sources } = flush;
    const fingerprint = sha256Hex(JSON.stringify(sources));
    const context = { commandId: randomUUID(), action: 'CountRefusals', actor, idempotencyKey: key, fingerprint };
    try {
      await this.#events.handle({ stream: REFUSALS_STREAM, subjects: sources.map(floodSubject), context }, recordCounts(sources));
      return undefined;
    } catch (err) {
      this.#log.warn({ err, actor }, 'counted refusals could not be recorded yet');
      return flush;
    }
  }
}

/** One for each token, whose name stands in the record, and one for all who have none. */
function asFlushes(counted: readonly CountedSource[]): Flush[] {
  const byActor = new Map<string, CountedSource[]>();
  for (const one of counted) {
    const actor = one.source.startsWith('token/') ? one.source : ANONYMOUS;
    byActor.set(actor, [...(byActor.get(actor) ?? []), one]);
  }
  return [...byActor].map(([actor, sources]) => ({ key: `counts/${randomUUID()}`, actor, sources }));
}

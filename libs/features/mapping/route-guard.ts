import { setImmediate as nextTurn } from 'node:timers/promises';

import type { Decide, Decided, EventStore, HandleRequest, Outcome, WideView } from '#platform/eventstore/event-store.js';
import type { Snapshot } from '#platform/eventstore/snapshot-command.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { JsonObject } from '#platform/kernel/json.js';
import { runToEnd } from '#platform/kernel/turns.js';

import type { GatewayBook } from './gateway-book.js';
import { isTested, nothingTested, runRouteTests, type TestVerdict } from './tested-routes.js';

/** Each round lost means that somebody else's command was recorded. */
const MOST_ROUNDS = 50;

const TEST = 'route-test';

function isTest({ subject }: { readonly subject: string }): boolean {
  return subject.startsWith(`${TEST}/`);
}

function hasTest(subjects: Iterable<string>): boolean {
  for (const subject of subjects) if (isTest({ subject })) return true;
  return false;
}

/** How a write stands to route tests. */
export interface GuardRules {
  /** Carry it out although tests fail by it. */
  readonly override: boolean;
  /** A plan tells the failures instead of being refused for them. */
  readonly dryRun: boolean;
}

/** The book does not know what the decision saw. */
class BookBehind extends Error {}

/**
 * Keeps a write from breaking the gateway's route tests: each decision is tried on the routes as they would be, and is appended at that very version of
 * the gateway, so that no two writes break together what neither breaks alone. Writes that no test has to do with are not held to a version.
 */
export class RouteGuard {
  /** What the request of a decision must ask for that is to be `reviewed`. */
  readonly kinds: readonly string[] = [TEST];
  readonly #rules: GuardRules;
  readonly #read: () => Promise<GatewayBook>;
  #book: GatewayBook | undefined;

  /** @param read The gateway's routes and tests; asked for when it turns out that a decision needs them. */
  constructor(rules: GuardRules, read: () => Promise<GatewayBook>) {
    this.#rules = rules;
    this.#read = read;
  }

  /**
   * `EventStore.handle` under the guard.
   * @throws DomainError as `handle`; invalid `route_test_failed` with `routeTests`, `route_test_budget`; conflict `contended`.
   */
  async handle(events: EventStore, request: HandleRequest, decide: Decide): Promise<Outcome> {
    return this.attempt(() => events.handle({ ...request, kinds: this.kinds }, (view) => this.reviewed(decide(view), view)));
  }

  /** Runs something that decides by `reviewed`, again when the gateway moved on. */
  async attempt(run: () => Promise<Outcome>): Promise<Outcome> {
    for (let round = 0; round < MOST_ROUNDS; round++) {
      try {
        return await run();
      } catch (error) {
        if (!(error instanceof BookBehind)) throw error;
        this.#book = await this.#read();
      }
    }
    const message = 'The routes keep changing while their tests are run: nothing was recorded; try again.';
    throw new DomainError('conflict', 'contended', message);
  }

  /** A decision made on a view of these `kinds`, with what the tests say of it. To be called inside `attempt`. */
  reviewed(decision: ReturnType<Decide>, view: WideView): Decided {
    return runToEnd(this.reviewing('events' in decision ? decision : { events: decision, details: null }, view));
  }

  /** The same of very many events; yields now and then, for others. */
  *reviewing(decided: Decided, view: WideView): Generator<undefined, Decided> {
    if (!decided.events.some(isTested)) return decided;
    if (!view.hasAny(TEST) && !decided.events.some(isTest)) return this.judged(decided, nothingTested);
    const book = this.#book;
    if (book === undefined || book.version < view.streamVersion) throw new BookBehind();
    const { version } = book;
    const running = runRouteTests(book, decided.events);
    let step = running.next();
    for (; step.done !== true; step = running.next()) {
      yield undefined;
      if (book.version !== version) throw new BookBehind();
    }
    const verdict = step.value;
    // The book may be ahead of what the decision saw: then the append finds the gateway moved, and it is decided again.
    const judged = this.judged(decided, verdict);
    return verdict.passed + verdict.failedCount === 0 ? judged : { ...judged, atVersion: book.version };
  }

  /** As `reviewed`, for a decision about a whole snapshot, which is appended at its version anyway; gives others their turn. */
  async reviewedSnapshot(decided: Decided, { version, subjects }: Snapshot): Promise<Decided> {
    if (!decided.events.some(isTested)) return decided;
    if (!hasTest(subjects.keys()) && !decided.events.some(isTest)) return this.judged(decided, nothingTested);
    const book = await this.#read();
    if (book.version !== version) return decided; // it has been overtaken, and its append says so
    const running = runRouteTests(book, decided.events);
    let step = running.next();
    for (; step.done !== true; step = running.next()) {
      await nextTurn();
      if (book.version !== version) return decided;
    }
    return this.judged(decided, step.value);
  }

  private judged(decided: Decided, verdict: TestVerdict): Decided {
    if (this.#rules.dryRun) return planned(decided, verdict);
    if (verdict.failedCount > 0 && !this.#rules.override) throw refusal(verdict);
    if (verdict.passed + verdict.failedCount === 0) return decided;
    // In the record, so that the same request sent again has the same answer, and history tells what was overridden.
    const routeTests = { ...verdict, failed: verdict.failed.map(({ test, message }) => ({ test, message })) };
    return { ...decided, details: { ...decided.details, routeTests } };
  }
}

function planned(decided: Decided, verdict: TestVerdict): Decided {
  return { ...decided, notes: { routeTests: verdict as unknown as JsonObject } };
}

function refusal(verdict: TestVerdict): DomainError {
  const more = verdict.failedCount === 1 ? '' : ` (and ${verdict.failedCount - 1} more, in "routeTests")`;
  const message = `This would break a route test. ${verdict.failed[0]?.message ?? ''}${more} Change it, change the test with it in one changeset, or say overrideRouteTests=true with a reason.`;
  return new DomainError('invalid', 'route_test_failed', message, { extra: { routeTests: verdict } });
}

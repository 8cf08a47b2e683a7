import type { RouteTestState } from '#features/route-test/route-test.js';
import type { NewEvent } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { JsonObject } from '#platform/kernel/json.js';
import { inPieces } from '#platform/kernel/turns.js';

import type { GatewayBook } from './gateway-book.js';
import { fromJson } from './mapping-state.js';
import { type NormalisedRequest, normaliseRequest } from './normalised-request.js';
import { RouteBook } from './route-book.js';
import { mismatchOf, rewrittenPath } from './route-matcher.js';
import { compareRows, type RouteRow, routeRow, upstreamOf } from './route-table.js';

/** So many route tests a gateway may have: all of them are run in some 20 ms, whatever the size of the table. */
export const MOST_ROUTE_TESTS = 1_000;
/** So many failures are told one by one. */
const MOST_TOLD = 100;
/** Above so many comparisons it is cheaper to run every test than to find out which ones can be affected. */
const MOST_COMPARISONS = 50_000;
const SLICE = 200;
const TEST = 'route-test/';
const MAPPING = 'mapping/';

/** What a request came to, or should. */
export interface RouteResult {
  /** Null: no mapping gets it. */
  readonly mapping: string | null;
  readonly rewrittenPath: string | null;
  readonly upstream: string | null;
  /** The code of what the gateway answers by itself. */
  readonly answered: string | null;
}

/** A route test that does not hold. */
export interface FailedTest {
  readonly test: string;
  readonly expect: RouteTestState['expect'];
  readonly got: RouteResult;
  readonly message: string;
}

export interface TestVerdict {
  readonly passed: number;
  /** At most 100. */
  readonly failed: readonly FailedTest[];
  readonly failedCount: number;
  /** Tests that the changes cannot have to do with. */
  readonly notAffected: number;
}

export const nothingTested: TestVerdict = { passed: 0, failed: [], failedCount: 0, notAffected: 0 };

const prepared = new WeakMap<JsonObject, { readonly test: RouteTestState; readonly normalised: NormalisedRequest }>();

function prepare(state: JsonObject) {
  const known = prepared.get(state);
  if (known !== undefined) return known;
  const test = state as RouteTestState;
  const made = { test, normalised: normaliseRequest(test.request) };
  prepared.set(state, made);
  return made;
}

/** Is this a change that route tests have to do with? */
export function isTested({ subject }: Pick<NewEvent, 'subject'>): boolean {
  return subject.startsWith(MAPPING) || subject.startsWith(TEST);
}

/**
 * Runs the route tests that the events can have to do with, on what the book is after them. Yields now and then, for others.
 * @throws DomainError invalid `route_test_budget` when they would make more tests than a gateway may have.
 */
export function* runRouteTests(book: GatewayBook, events: readonly NewEvent[]): Generator<undefined, TestVerdict> {
  const [written, mappings] = [new Map<string, JsonObject | null>(), new Map<string, JsonObject | null>()];
  yield* inPieces(events, ({ subject, state }) => {
    if (subject.startsWith(TEST)) written.set(subject.slice(TEST.length), state);
    else if (subject.startsWith(MAPPING)) mappings.set(subject.slice(MAPPING.length), state);
  });
  const tests = testsAfter(book, written);
  const changed: RowChange[] = [];
  yield* inPieces(mappings, ([name, state]) => changed.push(...change(book, name, state)));
  const overlay = new RouteBook();
  for (const [i, { after: state }] of changed.entries()) {
    if (i % SLICE === SLICE - 1) yield undefined;
    if (state !== undefined) overlay.put(state);
  }
  const names = new Set(changed.map(({ name }) => name));
  const all = tests.size * changed.length > MOST_COMPARISONS;
  let [passed, notAffected, failedCount] = [0, 0, 0];
  const failed: FailedTest[] = [];
  for (const [name, state] of tests) {
    const { test, normalised } = prepare(state);
    if (!written.has(name) && !(all || changed.some((one) => concerns(one, normalised)))) {
      notAffected += 1;
      continue;
    }
    if ((passed + failedCount) % SLICE === SLICE - 1) yield undefined;
    const failure = judge(
      name,
      test,
      resultOf(normalised, first(book.routes.find(normalised.request, names), overlay.find(normalised.request))),
    );
    if (failure === undefined) passed += 1;
    else {
      failedCount += 1;
      if (failed.length < MOST_TOLD) failed.push(failure);
    }
  }
  return { passed, failed, failedCount, notAffected };
}

/** What each of some tests comes to on the book as it is: undefined for one that holds. */
export function judgeTests(
  book: GatewayBook,
  states: readonly JsonObject[],
): { readonly failure: FailedTest | undefined; readonly got: RouteResult }[] {
  return states.map((state) => {
    const { test, normalised } = prepare(state);
    const got = resultOf(normalised, book.routes.find(normalised.request));
    return { got, failure: judge(test.name, test, got) };
  });
}

function testsAfter(book: GatewayBook, written: ReadonlyMap<string, JsonObject | null>): ReadonlyMap<string, JsonObject> {
  if (written.size === 0) return book.tests;
  const tests = new Map(book.tests);
  for (const [name, state] of written) {
    if (state === null) tests.delete(name);
    else tests.set(name, state);
  }
  if (tests.size <= MOST_ROUTE_TESTS || tests.size <= book.tests.size) return tests;
  const message = `A gateway has at most ${MOST_ROUTE_TESTS} route tests, and this would make ${tests.size}; delete some.`;
  throw new DomainError('invalid', 'route_test_budget', message);
}

interface RowChange {
  readonly name: string;
  readonly rows: readonly RouteRow[];
  readonly after: ReturnType<typeof fromJson> | undefined;
}

/** None when the mapping is asked for and answers as before. */
function change(book: GatewayBook, name: string, state: JsonObject | null): RowChange[] {
  const before = book.routes.row(name);
  const after = state === null ? undefined : fromJson(name, state);
  const row = after === undefined ? undefined : routeRow(after);
  if (before !== undefined && row !== undefined && routing(before) === routing(row)) return [];
  return [{ name, rows: [before, row].filter((one) => one !== undefined), after }];
}

function routing({ host, match, methods, headers, precedence, rewrite, service }: RouteRow): string {
  const conditions = Object.entries(headers).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([host, match.kind, match.value, methods, conditions, precedence, rewrite, service]);
}

/** A row that matches neither before nor after has nothing to do with who gets the request. */
function concerns({ rows }: RowChange, { request, answered }: NormalisedRequest): boolean {
  return answered === undefined && rows.some((row) => mismatchOf(row, request) === undefined);
}

function first(a: RouteRow | undefined, b: RouteRow | undefined): RouteRow | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return compareRows(a, b) <= 0 ? a : b;
}

function resultOf({ request, query, answered }: NormalisedRequest, row: RouteRow | undefined): RouteResult {
  if (answered !== undefined || row === undefined) {
    return { mapping: null, rewrittenPath: null, upstream: null, answered: answered?.code ?? null };
  }
  return { mapping: row.mapping, rewrittenPath: rewrittenPath(row, request.path) + query, upstream: upstreamOf(row), answered: null };
}

function judge(test: string, { expect }: RouteTestState, got: RouteResult): FailedTest | undefined {
  const faults: string[] = [];
  const wanted = expect.none === true ? null : (expect.mapping ?? null);
  if (got.mapping !== wanted) {
    const is = got.mapping ?? (got.answered === null ? 'no mapping' : `no mapping (the gateway answers it by itself: ${got.answered})`);
    faults.push(`${wanted ?? 'no mapping'} should get it, and ${is} does`);
  }
  if (expect.rewrittenPath !== undefined && got.rewrittenPath !== expect.rewrittenPath)
    faults.push(`the path should become ${expect.rewrittenPath}, and becomes ${got.rewrittenPath ?? 'nothing'}`);
  if (expect.upstream !== undefined && got.upstream !== expect.upstream)
    faults.push(`${expect.upstream} should be asked, and ${got.upstream ?? 'nobody'} is`);
  return faults.length === 0 ? undefined : { test, expect, got, message: `${test}: ${faults.join('; ')}.` };
}

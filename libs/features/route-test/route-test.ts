import type { NewEvent, View } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';
import { canonicalJson, type JsonObject } from '#platform/kernel/json.js';

/** What a request must come to, kept with the configuration and tried on every change of the routes. */
export interface RouteTestState extends JsonObject {
  readonly name: string;
  readonly request: {
    readonly method: string;
    /** `http://host/path`, or the path alone. */
    readonly url: string;
    /** Lower-case names. */
    readonly headers: Readonly<Record<string, string | readonly string[]>>;
  };
  readonly expect: {
    /** Exactly one of `mapping` and `none` is there. */
    readonly mapping?: string;
    /** No mapping gets it: it answers 404, or the gateway refuses it. */
    readonly none?: true;
    /** With its query. */
    readonly rewrittenPath?: string;
    /** The identity of the upstream, `http://usersvc:80`. */
    readonly upstream?: string;
  };
}

const schemaVersion = 1;

/** The subject of a route test in its gateway's stream. */
export function routeTestSubject(name: string): string {
  return `route-test/${name}`;
}

/** Creates a test, or replaces the one of its name; nothing to do when it is the same. @throws DomainError not_found `gateway_not_found`. */
export const putRouteTest =
  (state: RouteTestState) =>
  (view: View): NewEvent[] => {
    requireGateway(view);
    const subject = routeTestSubject(state.name);
    const event = routeTestTransition(subject, view.subject(subject).state, state);
    return event === undefined ? [] : [event];
  };

/** Ends a test. @throws DomainError not_found `route_test_not_found`, `gateway_not_found`. */
export const deleteRouteTest =
  (name: string) =>
  (view: View): NewEvent[] => {
    requireGateway(view);
    const subject = routeTestSubject(name);
    const event = routeTestTransition(subject, view.subject(subject).state, null);
    if (event === undefined) throw new DomainError('not_found', 'route_test_not_found', `There is no route test ${name}.`);
    return [event];
  };

/** The event that takes a test from one state to another (null: it does not live); undefined when they are equal. */
export function routeTestTransition(subject: string, before: JsonObject | null, after: JsonObject | null): NewEvent | undefined {
  if (after === null) return before === null ? undefined : { type: 'RouteTestDeleted', schemaVersion, subject, state: null };
  if (before !== null && canonicalJson(before) === canonicalJson(after)) return undefined;
  const type = before === null ? 'RouteTestCreated' : 'RouteTestUpdated';
  return { type, schemaVersion, subject, state: after };
}

function requireGateway(view: View): void {
  if (view.subject('gateway').state === null)
    throw new DomainError('not_found', 'gateway_not_found', 'There is no such gateway; create it first.');
}

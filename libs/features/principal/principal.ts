import type { NewEvent, View } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { JsonObject } from '#platform/kernel/json.js';

/** A client that its certificate vouches for. The list is kept and answered; enforcing it comes with certificates. */
export interface PrincipalState extends JsonObject {
  readonly name: string;
  /** The SHA-256 of the client's certificate, as its author wrote it: 64 hexadecimal digits, colons between pairs allowed. */
  readonly fingerprint: string;
}

export function principalSubject(name: string): string {
  return `principal/${name}`;
}

/** The fingerprint as Envoy compares it: lower case, no colons. */
export function bareFingerprint(fingerprint: string): string {
  return fingerprint.replaceAll(':', '').toLowerCase();
}

/** Creates the principal or replaces it; two names may not claim one certificate. Nothing to do when it is the same. */
export const putPrincipal =
  (state: PrincipalState) =>
  (view: View): NewEvent[] => {
    requireGateway(view);
    const subject = principalSubject(state.name);
    const event = principalTransition(subject, view.subject(subject).state, state);
    return event === undefined ? [] : [event];
  };

/** The event that takes a principal from one state to another (null: it does not live); undefined when they are equal. */
export function principalTransition(subject: string, before: JsonObject | null, after: JsonObject | null): NewEvent | undefined {
  if (after === null) return before === null ? undefined : { type: 'PrincipalDeleted', schemaVersion: 1, subject, state: null };
  const state = after as PrincipalState;
  if (before?.fingerprint === state.fingerprint) return undefined;
  const type = before === null ? 'PrincipalCreated' : 'PrincipalUpdated';
  return { type, schemaVersion: 1, subject, state, claims: [`fingerprint:${bareFingerprint(state.fingerprint)}`] };
}

/** Ends the principal; one that is not there is nothing to do, as in the original. */
export const deletePrincipal =
  (name: string) =>
  (view: View): NewEvent[] => {
    requireGateway(view);
    const subject = principalSubject(name);
    const event = principalTransition(subject, view.subject(subject).state, null);
    return event === undefined ? [] : [event];
  };

function requireGateway(view: View): void {
  if (view.subject('gateway').state === null) throw new DomainError('not_found', 'gateway_not_found', 'There is no such gateway.');
}

import type { SubjectKinds } from '#features/history/subject-kind.js';
import { type LogFault, logFault } from '#platform/eventstore/log-fault.js';
import type { HeldSubject } from '#platform/eventstore/verify-state.js';

/** The streams whose subjects the kinds describe. */
export function isConfiguration(stream: string): boolean {
  return stream.startsWith('gateway/');
}

/**
 * The first subject whose claims or references are not those that its kind derives from its state. The chain does not cover them, so this is what finds
 * a claim that was changed in both places that hold it. States of an older shape are passed over: their claims were derived by the program of that time.
 */
export function findKindFault(kinds: SubjectKinds, held: readonly HeldSubject[]): LogFault | null {
  for (const one of held) {
    const fault = faultOf(kinds, one);
    if (fault !== null) return fault;
  }
  return null;
}

function faultOf(kinds: SubjectKinds, held: HeldSubject): LogFault | null {
  const { subject, from_version: version } = held;
  const kind = kinds.of(subject);
  if (kind === undefined) return null;
  const say = (table: 'subject' | 'reference', message: string) => logFault({ kind: 'state_mismatch', table, version, subject, message });
  let event: ReturnType<typeof kind.transition>;
  try {
    // From an empty state and not from none: settings begin with their gateway and refuse to be made out of nothing.
    event = kind.transition(subject, {}, kind.upcast(held.state, held.schema_version));
  } catch (error) {
    return say('subject', `The state cannot be read as a ${kind.name}: ${(error as Error).message}`);
  }
  if (event === undefined || event.schemaVersion !== held.schema_version) return null;
  const claims = difference(event.claims ?? [], held.claims);
  if (claims !== undefined) return say('subject', `The state needs the claims of its kind, and ${claims}.`);
  const references = difference(event.references ?? [], held.references);
  return references === undefined ? null : say('reference', `The state needs the references of its kind, and ${references}.`);
}

function difference(wanted: readonly string[], found: readonly string[]): string | undefined {
  const missing = wanted.find((one) => !found.includes(one));
  if (missing !== undefined) return `${missing} is missing`;
  const added = found.find((one) => !wanted.includes(one));
  return added === undefined ? undefined : `${added} is not one of them`;
}

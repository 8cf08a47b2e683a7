import { DomainError } from '#platform/kernel/errors.js';
import { runToEnd } from '#platform/kernel/turns.js';

import type {
  Decided,
  DecidedCommand,
  DecidedEvent,
  HandleRequest,
  NewEvent,
  Precondition,
  RecordedEvent,
  SubjectRecord,
  View,
  WideView,
} from './command.js';

/** The view of one read: a decision sees exactly what its append will be checked against. */
export function viewOf(
  streamVersion: number,
  records: ReadonlyMap<string, SubjectRecord>,
  kinds: ReadonlyMap<string, boolean> = new Map(),
): WideView {
  return {
    streamVersion,
    hasAny(kind) {
      const has = kinds.get(kind);
      if (has === undefined) throw new Error(`the decision asks for any ${kind}, which its request does not name`);
      return has;
    },
    subject(name) {
      const record = records.get(name);
      if (!record) throw new Error(`the decision looks at ${name}, which its request does not name`);
      return record;
    },
  };
}

/** @throws DomainError `version_mismatch` (stale) when the caller's precondition does not hold on what was read. */
export function checkPrecondition(precondition: Precondition | undefined, view: View): void {
  if (!precondition) return;
  const { streamVersion, subjects } = precondition;
  if (streamVersion !== undefined && streamVersion !== view.streamVersion) {
    throw stale(
      `The configuration is at version ${view.streamVersion}, not ${streamVersion}: read it again and decide on what it is now.`,
      { currentVersion: view.streamVersion },
    );
  }
  for (const [name, expected] of Object.entries(subjects ?? {})) {
    const { version, state } = view.subject(name);
    const holds = expected === 'absent' ? state === null : expected === 'present' ? state !== null : state !== null && version === expected;
    if (holds) continue;
    const is = state === null ? 'does not exist' : `is at version ${version}`;
    const asked = expected === 'absent' ? 'be absent' : expected === 'present' ? 'exist' : `be at version ${expected}`;
    throw stale(`${name} ${is}, and the request asked for it to ${asked}: read it again and decide on what it is now.`, {
      subject: name,
      currentVersion: state === null ? null : version,
    });
  }
}

function stale(message: string, extra: Record<string, unknown>): DomainError {
  return new DomainError('stale', 'version_mismatch', message, { extra });
}

/** What was read for a decision. */
interface ReadFor {
  readonly streamVersion: number;
  readonly records: ReadonlyMap<string, SubjectRecord>;
}

/**
 * Turns a decision into what is appended: subject versions, stored text, claims and references of the final states.
 * @throws DomainError `claim_taken` or `reference_missing` where the command contradicts itself, `unstorable` for a state that is not JSON.
 */
export function compose(request: HandleRequest, decided: Decided, read: ReadFor): DecidedCommand {
  return runToEnd(composing(request, decided, read));
}

/** So many events are composed before the next look at the clock: less than a millisecond. */
const PACE = 200;

/** As `compose`; yields now and then, for others. */
export function* composing(
  request: HandleRequest,
  decided: Decided,
  { streamVersion, records }: ReadFor,
): Generator<undefined, DecidedCommand> {
  const { events, details } = decided;
  const reads = new Map<string, number | null>();
  for (const [name, record] of records) {
    if (reads.set(name, record.version).size % PACE === 0) yield undefined;
  }
  const finals = new Map<string, NewEvent>();
  for (const event of events) {
    if (!records.has(event.subject)) throw new Error(`the decision writes ${event.subject}, which its request does not name`);
    if (finals.set(event.subject, event).size % PACE === 0) yield undefined;
  }
  let size = 0;
  const next = new Map<string, number>();
  const composed: DecidedEvent[] = [];
  for (const event of events) {
    if (composed.length % PACE === PACE - 1) yield undefined;
    const subjectVersion = (next.get(event.subject) ?? records.get(event.subject)!.version) + 1;
    next.set(event.subject, subjectVersion);
    const json = event.state === null ? null : toJson(event);
    size += 100 + event.subject.length + (json?.length ?? 0);
    const last = finals.get(event.subject) === event;
    composed.push({
      subject: event.subject,
      subjectVersion,
      type: event.type,
      schemaVersion: event.schemaVersion,
      json,
      last,
      claims: last && event.state !== null ? distinct(event.claims ?? []) : [],
    });
  }
  const claims = yield* collectClaims(composed);
  const references = yield* collectReferences(finals, records, reads);
  yield undefined;
  const expectedStreamVersion = request.precondition?.streamVersion ?? decided.atVersion ?? null;
  return {
    stream: request.stream,
    context: request.context,
    details: recordedDetails(details, request.context.confirmWithinMs),
    expectedStreamVersion,
    isPinned: expectedStreamVersion === streamVersion,
    reads,
    written: new Set(finals.keys()),
    events: composed,
    claims,
    references,
    size,
  };
}

/** The time to confirm in is part of the record, so that a deadline that was moved or removed contradicts the chain. */
function recordedDetails(details: Decided['details'], confirmWithinMs: number | null | undefined): string | null {
  if (confirmWithinMs == null) return details === null ? null : JSON.stringify(details);
  return JSON.stringify({ ...details, confirmWithinMs });
}

function toJson(event: NewEvent): string {
  try {
    return JSON.stringify(event.state);
  } catch (cause) {
    throw new DomainError('invalid', 'unstorable', `The state of ${event.subject} cannot be written as JSON: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function distinct(texts: readonly string[]): readonly string[] {
  return texts.length < 2 ? texts : [...new Set(texts)];
}

function* collectClaims(events: readonly DecidedEvent[]): Generator<undefined, { subject: string; claim: string }[]> {
  const owners = new Map<string, string>();
  const claimed: { subject: string; claim: string }[] = [];
  for (const [i, { subject, claims }] of events.entries()) {
    if (i % PACE === PACE - 1) yield undefined;
    for (const claim of claims) {
      const owner = owners.get(claim);
      if (owner !== undefined) throw claimTaken(claim, owner);
      owners.set(claim, subject);
      claimed.push({ subject, claim });
    }
  }
  return claimed;
}

export function claimTaken(claim: string, owner: string): DomainError {
  return new DomainError('conflict', 'claim_taken', `${owner} already holds ${claim}.`, { extra: { claim, owner } });
}

/** References to subjects that this command does not touch become reads of the kind "it must live". */
function* collectReferences(
  finals: ReadonlyMap<string, NewEvent>,
  records: ReadonlyMap<string, SubjectRecord>,
  reads: Map<string, number | null>,
): Generator<undefined, { subject: string; target: string }[]> {
  const references: { subject: string; target: string }[] = [];
  let seen = 0;
  for (const [subject, event] of finals) {
    if (++seen % PACE === 0) yield undefined;
    if (event.state === null || event.references === undefined) continue;
    for (const target of new Set(event.references)) {
      const written = finals.get(target);
      const read = records.get(target);
      if (written ? written.state === null : read ? read.state === null : false) throw referenceMissing(target);
      if (!written && !read) reads.set(target, null);
      references.push({ subject, target });
    }
  }
  return references;
}

export function referenceMissing(subject: string): DomainError {
  return new DomainError('invalid', 'reference_missing', `${subject} does not exist.`, { extra: { subject } });
}

/** The command's events as they are answered. */
export function recordedEvents(command: DecidedCommand, states: readonly RecordedEvent['state'][]): RecordedEvent[] {
  return command.events.map(({ subject, subjectVersion, type, schemaVersion }, index) => ({
    subject,
    subjectVersion,
    type,
    schemaVersion,
    state: states[index] ?? null,
    index,
  }));
}

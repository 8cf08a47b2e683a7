import type { StatedSubject } from '#features/history/configuration-document.js';
import { type SubjectKind, type SubjectKinds, splitSubject } from '#features/history/subject-kind.js';
import type { NewEvent, SubjectRecord } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { JsonObject } from '#platform/kernel/json.js';
import { sorting } from '#platform/kernel/turns.js';

import { mergeBack, sameJson } from './three-way.js';

/** The subject that the other ones are judged by; who changes it needs the scope `admin`. */
export const settingsSubject = 'gateway';

/** How long a command about everything may take: 100,000 mappings are more than an ordinary command's deadline allows on a busy machine. */
export const WHOLE_DEADLINE_MS = 60_000;

/** What a rollback does with subjects that have secrets; without it they stay as they are. */
export interface SecretsBack {
  readonly at: Date;
  /** Ids of secrets that are not there any more. */
  readonly lost: ReadonlySet<string>;
}

/** A subject that a rollback leaves as it is, though it was asked to bring it back. */
export interface RollbackException {
  readonly subject: string;
  readonly code: string;
  readonly message: string;
}

export interface RollbackPlan {
  readonly events: readonly NewEvent[];
  readonly exceptions: readonly RollbackException[];
}

/**
 * The events that make a configuration what it was: only of the subjects that differ, sorted by name. What lives now and did not then ends, what is no
 * configuration stays, and so does what has a secret unless `secrets` says otherwise. Yields now and then, for others.
 */
export function* planRollback(
  kinds: SubjectKinds,
  now: Iterable<StatedSubject>,
  then: Iterable<StatedSubject>,
  secrets?: SecretsBack,
): Generator<undefined, RollbackPlan> {
  const present = yield* statesOf(kinds, now);
  const past = yield* statesOf(kinds, then);
  const exceptions: RollbackException[] = [];
  const events: NewEvent[] = [];
  const subjects = yield* sorting([...new Set([...present.keys(), ...past.keys()])], bySubject);
  for (const [i, subject] of subjects.entries()) {
    if (i % PACE === PACE - 1) yield undefined;
    const kind = kinds.of(subject);
    if (kind === undefined || (kind.secretOf !== undefined && secrets === undefined)) continue;
    const [is, was] = [present.get(subject) ?? null, past.get(subject) ?? null];
    const event = kind.transition(subject, is, was);
    if (event === undefined) continue;
    const why = secrets === undefined ? undefined : whyNotBack(kind, is, was, secrets);
    if (why === undefined) events.push(event);
    else exceptions.push({ subject, ...why });
  }
  return { events, exceptions };
}

function whyNotBack(
  kind: SubjectKind,
  present: JsonObject | null,
  past: JsonObject | null,
  { at, lost }: SecretsBack,
): { readonly code: string; readonly message: string } | undefined {
  const why = kind.whyNotBack?.(present, past, at);
  if (why !== undefined || past === null || kind.secretOf === undefined || !lost.has(kind.secretOf(past))) return why;
  return { code: 'key_destroyed', message: 'Its key was destroyed, as nothing was to use it any more.' };
}

/** So many subjects are looked at before whoever runs this may let others have their turn. */
const PACE = 100;

function* statesOf(kinds: SubjectKinds, subjects: Iterable<StatedSubject>): Generator<undefined, Map<string, JsonObject>> {
  const states = new Map<string, JsonObject>();
  let seen = 0;
  for (const { subject, state, schemaVersion } of subjects) {
    if (++seen % PACE === 0) yield undefined;
    const kind = kinds.of(subject);
    if (kind !== undefined && state !== null) states.set(subject, kind.upcast(state, schemaVersion));
  }
  return states;
}

/** What one version made of one subject, in today's shape; null where it did not live. */
export interface SubjectChange {
  readonly subject: string;
  readonly before: JsonObject | null;
  readonly after: JsonObject | null;
}

/** Why a subject cannot go back to what it was before a version. */
export interface RevertConflict {
  readonly subject: string;
  /** The member of the state; '' for the subject as a whole. */
  readonly pointer: string;
  /** The version that made it what it is now. */
  readonly laterVersion: number;
  readonly message: string;
}

export interface RevertPlan {
  readonly events: readonly NewEvent[];
  readonly conflicts: readonly RevertConflict[];
}

/** A subject as it is now, out of the log. */
export type PresentSubject = Pick<SubjectRecord, 'state' | 'schemaVersion' | 'streamVersion'>;

interface RevertInput {
  readonly kinds: SubjectKinds;
  readonly version: number;
  readonly changes: readonly SubjectChange[];
  readonly secrets: SecretsBack;
  present(subject: string): PresentSubject;
  /** Subjects that are left as they are. */
  readonly leave?: ReadonlySet<string>;
}

/**
 * Undoes one version, subject by subject: what it did goes back where nobody has done something else since (`mergeBack`), and is checked as a write
 * would be. A subject that is as it was before already needs no event. Pure. Yields now and then, for
 * others.
 */
export function* planRevert(input: RevertInput): Generator<undefined, RevertPlan> {
  const { kinds, version, present, leave, secrets } = input;
  const events: NewEvent[] = [];
  const conflicts: RevertConflict[] = [];
  let settings = presentState(kinds, settingsSubject, present(settingsSubject)) ?? {};
  for (const [i, change] of (yield* settingsFirst(input.changes)).entries()) {
    if (i % PACE === PACE - 1) yield undefined;
    const { subject } = change;
    if (leave?.has(subject)) continue;
    const kind = kinds.of(subject);
    const record = present(subject);
    const fault = (pointer: string, message: string): RevertConflict => ({ subject, pointer, laterVersion: record.streamVersion, message });
    if (kind === undefined) {
      conflicts.push(fault('', `${subject} is of a kind that this release of the program does not know.`));
      continue;
    }
    const current = presentState(kinds, subject, record);
    const undone = undo(kind, change, current, { version, settings, secrets });
    if ('faults' in undone) conflicts.push(...undone.faults.map(({ pointer, message }) => fault(pointer, message)));
    else {
      const event = kind.transition(subject, current, undone.state);
      if (event !== undefined) events.push(event);
      if (subject === settingsSubject) settings = event?.state ?? settings;
    }
  }
  return { events, conflicts };
}

/** What the settings will be is what the others are judged by. */
function settingsFirst(changes: readonly SubjectChange[]): Generator<undefined, SubjectChange[]> {
  const rank = ({ subject }: SubjectChange) => (subject === settingsSubject ? 0 : 1);
  return sorting(changes, (a, b) => rank(a) - rank(b) || bySubject(a.subject, b.subject));
}

function bySubject(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

function presentState(kinds: SubjectKinds, subject: string, { state, schemaVersion }: PresentSubject): JsonObject | null {
  return state === null ? null : (kinds.of(subject)?.upcast(state, schemaVersion) ?? state);
}

type Undone = { readonly state: JsonObject | null } | { readonly faults: readonly { pointer: string; message: string }[] };

function undo(
  kind: SubjectKind,
  { subject, before, after }: SubjectChange,
  current: JsonObject | null,
  context: { readonly version: number; readonly settings: JsonObject; readonly secrets: SecretsBack },
): Undone {
  const { version, settings, secrets } = context;
  const whole = (message: string): Undone => ({ faults: [{ pointer: '', message }] });
  if (sameJson(before, after) || sameJson(current, before)) return { state: current };
  if (subject === settingsSubject && before === null) return whole('A gateway does not end when its creation is undone.');
  const why = whyNotBack(kind, current, before, secrets);
  if (why !== undefined) return whole(`${subject} cannot go back to what it was: ${why.message}`);
  if (sameJson(current, after)) return before === null ? { state: null } : checked(kind, subject, before, settings);
  if (before === null) return whole(`${subject} was created by version ${version} and has been changed since; delete it by itself.`);
  if (after === null) return whole(`${subject} was deleted by version ${version} and has been created anew since; change it by itself.`);
  if (current === null) return whole(`${subject} was changed by version ${version} and has been deleted since; create it by itself.`);
  const merged = mergeBack({ before, after, current });
  if (merged.conflicts.length === 0) return checked(kind, subject, merged.state, settings);
  const changed = (pointer: string) =>
    `${subject} has another ${pointer.slice(1)} now than version ${version} gave it; change it by itself.`;
  return { faults: merged.conflicts.map((pointer) => ({ pointer, message: changed(pointer) })) };
}

/** What goes back must be what could be written now: members that came from different versions may contradict each other, or the settings. */
function checked(kind: SubjectKind, subject: string, state: JsonObject, settings: JsonObject): Undone {
  try {
    return { state: kind.read(splitSubject(subject).name, kind.write(state), { settings, present: state }) };
  } catch (error) {
    if (!(error instanceof DomainError)) throw error;
    const faults = error.errors.length > 0 ? error.errors : [{ pointer: '', message: error.message }];
    return { faults: faults.map(({ pointer, message }) => ({ pointer, message: `${subject} would not be valid any more: ${message}` })) };
  }
}

/**
 * What has a secret is changed by who holds `certificates`.
 * @throws DomainError forbidden `scope_missing`.
 */
export function requireCertificatesFor(kinds: SubjectKinds, events: readonly NewEvent[], mayCertify: boolean): void {
  if (mayCertify || !events.some(({ subject }) => kinds.of(subject)?.secretOf !== undefined)) return;
  throw new DomainError('forbidden', 'scope_missing', 'This changes certificates, and this token lacks the scope certificates.', {
    extra: { missingScopes: ['certificates'] },
  });
}

/**
 * Settings are changed by who holds `admin`, on this way too.
 * @throws DomainError forbidden `scope_missing`.
 */
export function requireAdminFor(events: readonly NewEvent[], mayConfigure: boolean): void {
  if (mayConfigure || !events.some(({ subject }) => subject === settingsSubject)) return;
  throw new DomainError('forbidden', 'scope_missing', 'This changes the settings, and this token lacks the scope admin.', {
    extra: { missingScopes: ['admin'] },
  });
}

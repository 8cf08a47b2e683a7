import { type SubjectKind, type SubjectKinds, splitSubject } from '#features/history/subject-kind.js';
import type { Decided, View } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json, JsonObject } from '#platform/kernel/json.js';

import { type Place, SetFaults } from './set-faults.js';
import { checkSize } from './value-size.js';
import { type ConcludedSet, PACE, runToEnd, type SetRules, WorkingSet } from './working-set.js';

/** One change of a set. */
export interface Change {
  /** `put` creates or replaces, `patch` merges (RFC 7396) into what is there, `delete` ends what is there. */
  readonly op: 'put' | 'patch' | 'delete';
  /** `mapping/user`, `principal/alice`, `gateway`. */
  readonly subject: string;
  readonly value?: Json | undefined;
  /** The subject's version before the set, 0 for one that must not exist. */
  readonly ifVersion?: number | undefined;
}

/** A change, or why what stands in its place is none. */
export type WrittenChange = Change | DomainError;

/** States that were read before the decision, see `PreparedValues`. */
interface PreparedStates {
  find(change: WrittenChange, settings: JsonObject): JsonObject | undefined;
}

/** The most changes of one set. */
export const MOST_CHANGES = 10_000;
const SETTINGS = 'gateway';

/** The subjects that a decision about these changes looks at; those that it refuses by their names are not among them. */
export function subjectsOf(changes: readonly WrittenChange[], kinds: SubjectKinds): string[] {
  const subjects = new Set([SETTINGS]);
  for (const change of changes)
    if (!(change instanceof DomainError) && kindOf(change.subject, kinds) !== undefined) subjects.add(change.subject);
  return [...subjects];
}

/**
 * Decides many changes as one, all or nothing, in their order: each sees what those before it did. Every refusal is told, with its index.
 * @throws DomainError not_found `gateway_not_found`, or what `SetFaults.throwIfAny` makes of the refusals.
 */
export const applyChangeset =
  (changes: readonly WrittenChange[], rules: SetRules, prepared?: PreparedStates) =>
  (view: View): Decided & ConcludedSet => {
    if (view.subject(SETTINGS).state === null)
      throw new DomainError('not_found', 'gateway_not_found', 'There is no such gateway; create it first.');
    return runToEnd(decide(changes, rules, view, prepared));
  };

function* decide(
  changes: readonly WrittenChange[],
  rules: SetRules,
  view: View,
  prepared: PreparedStates | undefined,
): Generator<undefined, Decided & ConcludedSet> {
  const faults = new SetFaults();
  const working = new WorkingSet((subject) => view.subject(subject));
  /** Subjects of which the last change was refused: what follows on that would only be refused for it again. */
  const unclear = new Set<string>();
  for (const [i, change] of changes.entries()) {
    if (i % PACE === PACE - 1) yield undefined;
    if (change instanceof DomainError) {
      faults.addRefusal(change, `change ${i}`, { value: `/changes/${i}`, name: `/changes/${i}/subject` });
      continue;
    }
    const { subject, op } = change;
    const place = { value: `/changes/${i}/value`, name: `/changes/${i}/subject` };
    const kind = kindOf(subject, rules.kinds);
    if (kind === undefined) {
      faults.add('invalid', { pointer: place.name, code: 'subject_unknown', message: unknownSubject(subject, rules.kinds) });
      continue;
    }
    checkVersion(change, `/changes/${i}/ifVersion`, view, faults);
    if (op !== 'put' && unclear.has(subject)) continue;
    try {
      working.put(kind, subject, after(change, kind, place, { working, kinds: rules.kinds, prepared }), place);
      unclear.delete(subject);
    } catch (error) {
      if (!(error instanceof DomainError)) throw error;
      // What has no pointer is not about the value: there is nothing of this name, or it must not end.
      faults.addRefusal(error, subject, error.errors.length === 0 ? { ...place, value: place.name } : place);
      unclear.add(subject);
    }
  }
  const set = yield* working.conclude(rules, faults);
  faults.throwIfAny();
  const { overridden } = set;
  const details = {
    changes: changes.length,
    ...(overridden.length === 0 ? {} : { overriddenQuarantines: overridden.map(({ id }) => id) }),
  };
  return { ...set, details };
}

/** The subject's state after a change. @throws DomainError whatever speaks against it; pointers relative to the value. */
function after(
  change: Change,
  kind: SubjectKind,
  place: Place,
  { working, kinds, prepared }: { working: WorkingSet; kinds: SubjectKinds; prepared: PreparedStates | undefined },
): JsonObject | null {
  const { op, subject, value } = change;
  const { name } = splitSubject(subject);
  const before = working.state(kind, subject);
  if (op !== 'put' && before === null) {
    throw new DomainError('not_found', `${kind.name}_not_found`, `There is nothing of this name to ${op}; see ${place.name}.`);
  }
  if (op === 'delete') {
    if (value !== undefined) throw misplaced('unknown_field', 'A delete has no value; remove it.');
    if (!kind.isNamed) kind.transition(subject, before, null); // refused by itself, here and not at the end
    return null;
  }
  if (value === undefined) throw misplaced('missing_field', `A ${op} needs a value.`);
  checkSize(kind, value);
  checkName(kind, name, value);
  const settings = settingsOf(working, kinds);
  if (op === 'patch' && before !== null) return kind.patch(name, before, value, { settings });
  return prepared?.find(change, settings) ?? kind.read(name, value, { settings, present: before });
}

function settingsOf(working: WorkingSet, kinds: SubjectKinds): JsonObject {
  const kind = kinds.of(SETTINGS);
  return (kind === undefined ? null : working.state(kind, SETTINGS)) ?? {};
}

/** @throws DomainError when the value has another name than its subject: renaming is a delete and a put. */
function checkName(kind: SubjectKind, name: string, value: Json): void {
  if (!kind.isNamed || typeof value !== 'object' || value === null || Array.isArray(value)) return;
  const given = (value as JsonObject).name;
  if (typeof given !== 'string' || given === name) return;
  const message = `The value names "${given.slice(0, 64)}" and the subject "${name}". A ${kind.name} keeps its name: delete the one and put the other.`;
  throw new DomainError('invalid', 'name_immutable', message, { errors: [{ pointer: '/name', code: 'name_immutable', message }] });
}

function checkVersion({ subject, ifVersion }: Change, pointer: string, view: View, faults: SetFaults): void {
  if (ifVersion === undefined) return;
  const { version, state } = view.subject(subject);
  if (ifVersion === (state === null ? 0 : version)) return;
  const is = state === null ? 'does not exist' : `is at version ${version}`;
  const message = `${subject}: it ${is}, and ifVersion says ${ifVersion}; read it again and decide on what it is now.`;
  faults.add('stale', { pointer, code: 'version_mismatch', message }, { subject, currentVersion: state === null ? null : version });
}

/** The kind of a subject whose name the log can bear; whether it is a good name is the kind's to say. */
function kindOf(subject: string, kinds: SubjectKinds): SubjectKind | undefined {
  return /^[\x21-\x7e]{1,300}$/.test(subject) ? kinds.of(subject) : undefined;
}

function unknownSubject(subject: string, kinds: SubjectKinds): string {
  const known = kinds.all.map(({ name, isNamed }) => (isNamed ? `"${name}/<name>"` : `"${name}"`)).join(', ');
  return `${JSON.stringify(subject.slice(0, 80))} is no subject of a configuration; a subject is one of ${known}.`;
}

function misplaced(code: string, message: string): DomainError {
  return new DomainError('malformed', code, message, { errors: [{ pointer: '', code, message }] });
}

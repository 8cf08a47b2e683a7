import { type SubjectKind, splitSubject } from '#features/history/subject-kind.js';
import type { Decided, SubjectRecord } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json, JsonObject } from '#platform/kernel/json.js';

import { type Place, SetFaults } from './set-faults.js';
import { checkSize } from './value-size.js';
import { type ConcludedSet, PACE, type SetRules, WorkingSet } from './working-set.js';

/** A document as it was sent: for each kind of which it has the section, its values in their order, each with where it stands. */
export interface WrittenDocument {
  readonly sections: readonly WrittenSection[];
}

interface WrittenSection {
  readonly kind: SubjectKind;
  readonly values: readonly { readonly value: Json; readonly pointer: string }[];
}

export interface ImportOptions {
  /** Every mapping of the document becomes this one's, by its label `owner`; and only this one's are pruned. */
  readonly owner: string | undefined;
  /** What a section that is there leaves out is deleted. */
  readonly prune: boolean;
}

type Living = ReadonlyMap<string, SubjectRecord>;
const SETTINGS = 'gateway';
const OWNER = 'owner';

/**
 * Decides what makes a gateway's configuration that of the document, section by section. What is equal already is left alone, so the same document
 * twice is no change. Yields now and then, for others.
 * @throws DomainError not_found `gateway_not_found`, or what `SetFaults.throwIfAny` makes of the refusals.
 */
export function* importConfiguration(
  document: WrittenDocument,
  options: ImportOptions,
  rules: SetRules,
  living: Living,
): Generator<undefined, Decided & ConcludedSet> {
  if (living.get(SETTINGS) === undefined)
    throw new DomainError('not_found', 'gateway_not_found', 'There is no such gateway; create it first.');
  const faults = new SetFaults();
  const absent = { state: null, schemaVersion: 0 };
  const working = new WorkingSet((subject) => living.get(subject) ?? absent);
  for (const section of document.sections) {
    const named = yield* putSection(section, options, rules, working, faults);
    if (options.prune && section.kind.isNamed && section.kind.secretOf === undefined)
      yield* prune(section.kind, named, options.owner, living, working);
  }
  const set = yield* working.conclude(rules, faults);
  faults.throwIfAny();
  const { overridden } = set;
  const details = {
    owner: options.owner ?? null,
    prune: options.prune,
    ...(overridden.length === 0 ? {} : { overriddenQuarantines: overridden.map(({ id }) => id) }),
  };
  return { ...set, details };
}

/** Puts the values of a section; answers the names that it gives. */
function* putSection(
  { kind, values }: WrittenSection,
  options: ImportOptions,
  rules: SetRules,
  working: WorkingSet,
  faults: SetFaults,
): Generator<undefined, ReadonlySet<string>> {
  const seen = new Map<string, string>();
  for (const [i, { value, pointer }] of values.entries()) {
    if (i % PACE === PACE - 1) yield undefined;
    const place = { value: pointer, name: kind.isNamed ? `${pointer}/name` : pointer };
    const name = kind.isNamed ? nameOf(kind, value, place, faults) : '';
    if (name === undefined) continue;
    const subject = kind.isNamed ? `${kind.name}/${name}` : kind.name;
    const first = seen.get(name);
    if (first !== undefined) {
      const message = `${subject}: this name is given twice, here and at ${first}; give it once.`;
      faults.add('invalid', { pointer: place.name, code: 'name_duplicate', message });
      continue;
    }
    seen.set(name, place.name);
    try {
      checkSize(kind, value);
      const wanted =
        options.owner !== undefined && kind.name === 'mapping' ? owned(value, options.owner, subject, place, working, kind) : value;
      const settingsKind = rules.kinds.of(SETTINGS);
      const settings = (settingsKind === undefined ? null : working.state(settingsKind, SETTINGS)) ?? {};
      working.put(kind, subject, kind.read(name, wanted, { settings, present: working.state(kind, subject) }), place);
    } catch (error) {
      if (!(error instanceof DomainError)) throw error;
      faults.addRefusal(error, subject, place);
    }
  }
  return new Set(seen.keys());
}

function nameOf(kind: SubjectKind, value: Json, place: Place, faults: SetFaults): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    faults.add('malformed', { pointer: place.value, code: 'body_not_object', message: `A ${kind.name} is an object.` });
    return undefined;
  }
  const { name } = value as JsonObject;
  if (typeof name === 'string') return name;
  const [code, message] =
    name === undefined
      ? ['missing_field', `A ${kind.name} needs a name.`]
      : ['wrong_type', `The name of a ${kind.name} must be of type string.`];
  faults.add('malformed', { pointer: place.name, code, message });
  return undefined;
}

/** The mapping as its owner's. @throws DomainError `owner_mismatch` when it says that it is another's; conflict `owned_by_other` when one of this name is. */
function owned(value: Json, owner: string, subject: string, { name }: Place, working: WorkingSet, kind: SubjectKind): Json {
  const { labels, ...rest } = value as JsonObject;
  const said = labelsOf(labels)?.[OWNER];
  if (said !== undefined && said !== owner) {
    const message = `The document is imported for the owner ${JSON.stringify(owner)}, and this is labelled otherwise; import it for its own owner, or leave the label out.`;
    throw new DomainError('invalid', 'owner_mismatch', message, {
      errors: [{ pointer: '/labels/owner', code: 'owner_mismatch', message }],
    });
  }
  const present = labelsOf(working.state(kind, subject)?.labels)?.[OWNER];
  if (present !== undefined && present !== owner) {
    const message = `The mapping that there is belongs to ${JSON.stringify(present)}, see its label; choose another name than at ${name}, or agree with its owner.`;
    throw new DomainError('conflict', 'owned_by_other', message, {
      errors: [{ pointer: '/name', code: 'owned_by_other', message }],
      extra: { owner: present },
    });
  }
  const own = labels === undefined || labels === null ? {} : labelsOf(labels);
  return own === undefined ? value : { ...rest, labels: { ...own, [OWNER]: owner } };
}

/** Labels, if that is what it is; what is none the kind refuses. */
function labelsOf(value: Json | undefined): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;
}

/** Ends what lives and the section does not name: with an owner, only that one's mappings. */
function* prune(
  kind: SubjectKind,
  named: ReadonlySet<string>,
  owner: string | undefined,
  living: Living,
  working: WorkingSet,
): Generator<undefined, void> {
  if (owner !== undefined && kind.name !== 'mapping') return;
  let seen = 0;
  for (const { subject, state } of living.values()) {
    if (++seen % (10 * PACE) === 0) yield undefined;
    const split = splitSubject(subject);
    if (split.kind !== kind.name || named.has(split.name)) continue;
    if (owner !== undefined && labelsOf(state?.labels)?.[OWNER] !== owner) continue;
    working.put(kind, subject, null, { value: '', name: '' });
  }
}

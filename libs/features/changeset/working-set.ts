import type { SubjectKind, SubjectKinds } from '#features/history/subject-kind.js';
import type { Quarantined } from '#features/restore/find-quarantined.js';
import type { NewEvent, SubjectRecord } from '#platform/eventstore/event-store.js';
import { contentHash } from '#platform/kernel/digest.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { JsonObject } from '#platform/kernel/json.js';

import type { Place, SetFaults } from './set-faults.js';

/** What a set is judged by, beside its own changes. */
export interface SetRules {
  readonly kinds: SubjectKinds;
  /** May its author change the gateway's settings? */
  readonly mayConfigure: boolean;
  /** May its author change what has a secret (certificates)? */
  readonly mayCertify?: boolean;
  /** How many mappings more than now the gateway may have. */
  readonly room: number;
  readonly quarantined: readonly Quarantined[];
  readonly overrideQuarantine: boolean;
}

/** A set that may be recorded. */
export interface ConcludedSet {
  readonly events: readonly NewEvent[];
  /** Quarantines that the set's author overrode. */
  readonly overridden: readonly Quarantined[];
  readonly places: ReadonlyMap<string, Place>;
}

interface Touched {
  readonly kind: SubjectKind;
  readonly before: JsonObject | null;
  after: JsonObject | null;
  place: Place;
}

/** So many subjects are looked at before whoever runs the decision may let others have their turn: less than some milliseconds. */
export const PACE = 100;
const SETTINGS = 'gateway';

/**
 * A gateway's configuration as a set of changes leaves it, one after the other: later changes see what earlier ones did. In the end each subject has
 * at most one event, which takes it from where it was to where it shall be; so two mappings may swap what they match.
 */
export class WorkingSet {
  readonly #touched = new Map<string, Touched>();
  readonly #known = new Map<string, JsonObject | null>();
  readonly #read: (subject: string) => Pick<SubjectRecord, 'state' | 'schemaVersion'>;

  constructor(read: (subject: string) => Pick<SubjectRecord, 'state' | 'schemaVersion'>) {
    this.#read = read;
  }

  /** The subject's state, in today's shape. */
  state(kind: SubjectKind, subject: string): JsonObject | null {
    const touched = this.#touched.get(subject);
    return touched === undefined ? this.#before(kind, subject) : touched.after;
  }

  put(kind: SubjectKind, subject: string, after: JsonObject | null, place: Place): void {
    const touched = this.#touched.get(subject);
    if (touched === undefined) this.#touched.set(subject, { kind, before: this.#before(kind, subject), after, place });
    else Object.assign(touched, { after, place });
  }

  /** The set's events, once the last change is made; what speaks against them is added to the faults. Yields now and then, for others. */
  *conclude(rules: SetRules, faults: SetFaults): Generator<undefined, ConcludedSet> {
    const events: NewEvent[] = [];
    const overridden: Quarantined[] = [];
    const quarantined = new Map(rules.quarantined.map((state) => [`${state.subject}\n${state.digest}`, state]));
    let left = rules.room;
    const places = new Map<string, Place>();
    for (const [subject, touched] of this.#touched) {
      if (places.set(subject, touched.place).size % PACE === 0) yield undefined;
      const event = transition(subject, touched, faults);
      if (event === undefined) continue;
      events.push(event);
      if (subject === SETTINGS && !rules.mayConfigure) faults.add('forbidden', ...noAdmin(touched.place));
      if (touched.kind.secretOf !== undefined && rules.mayCertify !== true) faults.add('forbidden', ...noCertificates(touched.place));
      const held = event.state === null || quarantined.size === 0 ? undefined : quarantined.get(`${subject}\n${contentHash(event.state)}`);
      if (held !== undefined && rules.overrideQuarantine) overridden.push(held);
      else if (held !== undefined) faults.add('conflict', ...isQuarantined(held, touched.place));
      if (touched.kind.name === 'mapping') left += Number(touched.after === null) - Number(touched.before === null);
    }
    if (left < 0) this.#refuseOverBudget(rules.room, left, faults);
    yield* this.#refuseDoubleClaims(events, faults);
    yield undefined;
    return { events, overridden, places };
  }

  /** Read once and kept: every mapping of a set is judged by the same settings. */
  #before(kind: SubjectKind, subject: string): JsonObject | null {
    const known = this.#known.get(subject);
    if (known !== undefined) return known;
    const { state, schemaVersion } = this.#read(subject);
    const before = state === null ? null : kind.upcast(state, schemaVersion);
    this.#known.set(subject, before);
    return before;
  }

  /** Said of the last new mapping: without it (and the others too many) the set would fit. */
  #refuseOverBudget(room: number, left: number, faults: SetFaults): void {
    const created = [...this.#touched.values()].filter(
      ({ kind, before, after }) => kind.name === 'mapping' && before === null && after !== null,
    );
    const message = `This gateway may have ${room} mappings more, and the set would make ${room - left} more; leave some out, delete some, or use another gateway.`;
    faults.add('conflict', { pointer: created.at(-1)?.place.name ?? '', code: 'mapping_budget', message });
  }

  *#refuseDoubleClaims(events: readonly NewEvent[], faults: SetFaults): Generator<undefined, void> {
    const owners = new Map<string, string>();
    for (const [i, { subject, state, claims }] of events.entries()) {
      if (i % PACE === PACE - 1) yield undefined;
      for (const claim of state === null ? [] : (claims ?? [])) {
        const owner = owners.get(claim);
        if (owner === undefined) owners.set(claim, subject);
        else if (owner !== subject) {
          const extra = { claim, owner };
          this.#addTaken(faults, subject, claim, owner, extra);
          this.#addTaken(faults, owner, claim, subject, extra);
        }
      }
    }
  }

  #addTaken(faults: SetFaults, subject: string, claim: string, owner: string, extra: Readonly<Record<string, unknown>>): void {
    const [own, other] = [this.#touched.get(subject), this.#touched.get(owner)];
    if (own === undefined || other === undefined) return;
    const { pointer, code, message } = explainClaim(own.kind, claim, owner);
    const told = `${subject}: ${message} (It is in this set too, at ${other.place.value}.)`;
    faults.add('conflict', { pointer: own.place.value + pointer, code, message: told }, extra);
  }
}

/** What the append refused, said of the change whose subject it is; any other error as it is. */
export function explainRefusal(error: unknown, set: ConcludedSet | undefined, kinds: SubjectKinds): unknown {
  if (!(error instanceof DomainError) || set === undefined) return error;
  if (error.code === 'contended') {
    const message = 'Others keep changing what this set changes: nothing was recorded; try again.';
    return new DomainError(error.kind, error.code, message, { cause: error });
  }
  const subject = refusedSubject(error, set);
  const place = subject === undefined ? undefined : set.places.get(subject);
  if (subject === undefined || place === undefined) return error;
  const kind = kinds.of(subject);
  const { pointer, code, message } =
    error.code === 'claim_taken' && kind !== undefined
      ? explainClaim(kind, String(error.extra.claim), String(error.extra.owner))
      : { pointer: '', code: error.code, message: error.message };
  const told = `${subject}: ${message}`;
  const errors = [{ pointer: error.code === 'referenced' ? place.name : place.value + pointer, code, message: told }];
  return new DomainError(error.kind, error.code, told, { errors, extra: error.extra, cause: error });
}

function refusedSubject(error: DomainError, { events }: ConcludedSet): string | undefined {
  const { claim, subject } = error.extra;
  if (error.code === 'claim_taken') return events.find(({ state, claims }) => state !== null && claims?.includes(String(claim)))?.subject;
  if (error.code === 'reference_missing') return events.find(({ references }) => references?.includes(String(subject)))?.subject;
  return error.code === 'referenced' ? String(subject) : undefined;
}

function explainClaim(kind: SubjectKind, claim: string, owner: string) {
  return kind.explainClaim?.(claim, owner) ?? { pointer: '', code: 'claim_taken', message: `${owner} already holds ${claim}.` };
}

function transition(subject: string, { kind, before, after, place }: Touched, faults: SetFaults): NewEvent | undefined {
  try {
    return kind.transition(subject, before, after);
  } catch (error) {
    if (!(error instanceof DomainError)) throw error;
    faults.addRefusal(error, subject, { ...place, value: place.name });
    return undefined;
  }
}

function noAdmin(place: Place) {
  const message =
    'This changes the settings of the gateway, and the token lacks the scope admin: leave them as they are, or use a token that has it.';
  return [{ pointer: place.value, code: 'scope_missing', message }, { missingScopes: ['admin'] }] as const;
}

function noCertificates(place: Place) {
  const message = 'This changes a certificate, and the token lacks the scope certificates: leave it out, or use a token that has it.';
  return [{ pointer: place.name, code: 'scope_missing', message }, { missingScopes: ['certificates'] }] as const;
}

function isQuarantined({ subject, id, reason }: Quarantined, place: Place) {
  const message = `${subject}: this very state is in quarantine (${id}: ${reason}). Change it, or say overrideQuarantine with a reason.`;
  return [{ pointer: place.value, code: 'state_quarantined', message }, { quarantine: id }] as const;
}

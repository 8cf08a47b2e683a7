import type { NewEvent } from '#platform/eventstore/event-store.js';
import type { FieldError } from '#platform/kernel/errors.js';
import type { Json, JsonObject } from '#platform/kernel/json.js';

/** What a state is judged by, beside itself. */
export interface KindContext {
  /** The state of the gateway's settings as they are for this value: in a set of changes, after the changes before it. */
  readonly settings: JsonObject;
  /** The subject's own state before this value, null when it does not live. Only kinds with secrets look at it. */
  readonly present?: JsonObject | null;
}

/**
 * One kind of subject of a gateway's configuration, as everything needs it that works on all of them alike: changesets, the configuration as a
 * document, rollback, revert, comparison. Pure. Each feature describes its own; apps list them in one place.
 *
 * A state is what the log holds; a value is what a person writes in a document or a changeset, with defaults left out.
 */
export interface SubjectKind {
  /** `mapping`: its subjects are `mapping/<name>`. One without names is its only subject: `gateway`. */
  readonly name: string;
  readonly isNamed: boolean;
  /** Its member in a document: a list of values with a `name` each, or the value itself for a kind without names. */
  readonly section: string;
  /**
   * The id of the secret that a state rests on, which the log does not hold. For kinds that have it: a document neither makes nor ends their subjects, a
   * rollback leaves them as they are unless it is told otherwise, and who changes them needs the scope `certificates`.
   */
  secretOf?(state: JsonObject): string;
  /** A state out of the log in today's shape, whichever version of the program wrote it. */
  upcast(state: JsonObject, schemaVersion: number): JsonObject;
  /** The event, with its claims and references, that takes a subject from one state to another, either null when it does not live; undefined when they are equal. */
  transition(subject: string, before: JsonObject | null, after: JsonObject | null): NewEvent | undefined;
  /** A value as a whole state. @throws DomainError malformed or invalid, its pointers relative to the value. */
  read(name: string, value: Json, context: KindContext): JsonObject;
  /** A merge patch (RFC 7396) applied to a state. @throws DomainError as `read`. */
  patch(name: string, before: JsonObject, value: Json, context: KindContext): JsonObject;
  /** A state as a whole value: `read` of it gives the same state. */
  write(state: JsonObject): JsonObject;
  /** Why a subject cannot go back to a state that it had, though nothing else stands in the way; undefined when it can. */
  whyNotBack?(
    present: JsonObject | null,
    past: JsonObject | null,
    now: Date,
  ): { readonly code: string; readonly message: string } | undefined;
  /** Why a claim of this kind was refused that `owner` (a subject) holds, in the words of the one who wrote the value; the pointer is relative to it. */
  explainClaim?(claim: string, owner: string): FieldError;
}

/** `mapping/user` is of kind `mapping` and called `user`; `gateway` is of kind `gateway` and has no name. */
export function splitSubject(subject: string): { readonly kind: string; readonly name: string } {
  const slash = subject.indexOf('/');
  return slash === -1 ? { kind: subject, name: '' } : { kind: subject.slice(0, slash), name: subject.slice(slash + 1) };
}

/** The kinds of a gateway's configuration. Subjects of any other kind are not part of it. */
export class SubjectKinds {
  readonly #byName: ReadonlyMap<string, SubjectKind>;

  constructor(readonly all: readonly SubjectKind[]) {
    this.#byName = new Map(all.map((kind) => [kind.name, kind]));
  }

  /** The kind of a subject; undefined for what is not configuration. */
  of(subject: string): SubjectKind | undefined {
    const { kind, name } = splitSubject(subject);
    const found = this.#byName.get(kind);
    return found !== undefined && found.isNamed === (name !== '') ? found : undefined;
  }

  /** A recorded state in today's shape; null stays null, and the state of a subject of no kind stays as it is. */
  upcast(subject: string, state: JsonObject | null, schemaVersion: number): JsonObject | null {
    return state === null ? null : (this.of(subject)?.upcast(state, schemaVersion) ?? state);
  }
}

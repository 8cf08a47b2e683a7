import { DomainError, type ErrorKind, type FieldError } from '#platform/kernel/errors.js';

/** So many faults are listed; a program that sends more wrong things than this will not read them one by one. */
const MOST_LISTED = 10_000;

/** Where a request speaks of a subject, as JSON pointers into its body. */
export interface Place {
  /** Of the subject's value; pointers into the value continue it. */
  readonly value: string;
  /** Of what names the subject. */
  readonly name: string;
}

interface SetFault {
  readonly kind: ErrorKind;
  readonly field: FieldError;
  readonly extra: Readonly<Record<string, unknown>>;
}

/** Collects what is wrong with many changes, so that their author hears everything at once. */
export class SetFaults {
  readonly #found: SetFault[] = [];

  add(kind: ErrorKind, field: FieldError, extra: Readonly<Record<string, unknown>> = {}): void {
    this.#found.push({ kind, field, extra });
  }

  /** A refusal of one subject's value: its pointers become pointers into the whole, and its messages say of which subject they are. */
  addRefusal(error: DomainError, subject: string, place: Place): void {
    const fields = error.errors.length > 0 ? error.errors : [{ pointer: '', code: error.code, message: error.message }];
    for (const { pointer, code, message } of fields) {
      // What a subject is called stands beside its value.
      const at = pointer === '' && code.startsWith('name_') ? place.name : place.value + pointer;
      this.add(error.kind, { pointer: at, code, message: `${subject}: ${message}` }, error.extra);
    }
  }

  get any(): boolean {
    return this.#found.length > 0;
  }

  /**
   * @throws DomainError when there is a fault. Its kind is `malformed` when any of them is (the program that wrote the body is wrong), else `forbidden`
   * when any is, else that of the first; its code is that of the first of this kind.
   */
  throwIfAny(): void {
    const leading =
      this.#found.find(({ kind }) => kind === 'malformed') ?? this.#found.find(({ kind }) => kind === 'forbidden') ?? this.#found[0];
    if (leading === undefined) return;
    const more = this.#found.length === 1 ? '' : ` (and ${this.#found.length - 1} more under "errors")`;
    const cut = this.#found.length > MOST_LISTED ? `; the first ${MOST_LISTED} are listed` : '';
    const errors = this.#found.slice(0, MOST_LISTED).map(({ field }) => field);
    throw new DomainError(leading.kind, leading.field.code, `${leading.field.message}${more}${cut}`, { errors, extra: leading.extra });
  }
}

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
  readonly #listed: FieldError[] = [];
  readonly #firstOf = new Map<ErrorKind, SetFault>();
  #count = 0;

  add(kind: ErrorKind, field: FieldError, extra: Readonly<Record<string, unknown>> = {}): void {
    this.#count += 1;
    if (this.#listed.length < MOST_LISTED) this.#listed.push(field);
    if (!this.#firstOf.has(kind)) this.#firstOf.set(kind, { kind, field, extra });
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

  /**
   * @throws DomainError when there is a fault. Its kind is `malformed` when any of them is (the program that wrote the body is wrong), else `forbidden`
   * when any is, else that of the first; its code is that of the first of this kind.
   */
  throwIfAny(): void {
    const [first] = this.#firstOf.values();
    const leading = this.#firstOf.get('malformed') ?? this.#firstOf.get('forbidden') ?? first;
    if (leading === undefined) return;
    const more = this.#count === 1 ? '' : ` (and ${this.#count - 1} more under "errors")`;
    const cut = this.#count > MOST_LISTED ? `; the first ${MOST_LISTED} are listed` : '';
    throw new DomainError(leading.kind, leading.field.code, `${leading.field.message}${more}${cut}`, {
      errors: this.#listed,
      extra: leading.extra,
    });
  }
}

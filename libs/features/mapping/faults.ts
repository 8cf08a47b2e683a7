import { DomainError, type FieldError } from '#platform/kernel/errors.js';

/** Collects what is wrong with a body, so that its author hears everything at once and not one fault a request. */
export class Faults {
  readonly #found: FieldError[] = [];

  add(pointer: string, code: string, message: string): void {
    this.#found.push({ pointer, code, message });
  }

  get any(): boolean {
    return this.#found.length > 0;
  }

  get first(): FieldError | undefined {
    return this.#found[0];
  }

  /** @throws DomainError `invalid` with the code of the first fault, when there is one. */
  throwIfAny(): void {
    const first = this.#found[0];
    if (first === undefined) return;
    const more = this.#found.length === 1 ? '' : ` (and ${this.#found.length - 1} more under "errors")`;
    const field = first.pointer === '' ? '' : `${first.pointer.slice(1)}: `;
    throw new DomainError('invalid', first.code, `${field}${first.message}${more}`, { errors: this.#found });
  }
}

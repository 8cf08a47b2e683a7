/** Something that stops `bin/dev` and that its user can act on: what is wrong, and the next step. */
export class DevError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly nextStep: string,
    options: { cause?: unknown } = {},
  ) {
    super(message, options);
    this.name = 'DevError';
  }
}

/** What is done again and again. */
export interface RoundsOptions {
  /** Period; each round is up to a quarter earlier or later, so that workers do not look in step. Milliseconds. */
  readonly everyMs: number;
  readonly round: () => Promise<void>;
  /** A round that failed; the next one begins anew. */
  readonly onError: (error: unknown) => void;
}

/** One round after the other, each planned when the one before has ended, however it ended. */
export class Rounds {
  readonly #options: RoundsOptions;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: RoundsOptions) {
    this.#options = options;
  }

  get closed(): boolean {
    return this.#closed;
  }

  start(): void {
    if (this.#closed) return;
    const { everyMs, round, onError } = this.#options;
    this.#timer = setTimeout(
      () => {
        this.#round = round()
          .catch(onError)
          .then(() => this.start());
      },
      everyMs * (0.75 + Math.random() / 2),
    );
  }

  /** Plans no further round, and waits for the one under way. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#round;
  }
}

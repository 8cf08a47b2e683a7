/** So many changes go at once. One of the settings may be one of two listeners. */
const AT_ONCE = 20;

/**
 * How soon the next change of a listener may go. Envoy keeps what the listener was before for as long as it drains (five minutes with an agent),
 * whether or not a connection still has it: measured, 1 MB for each of its worker threads. Without a bound, a script that puts a certificate each second would take
 * gigabytes. After some changes in a row each next one waits for its turn, and goes as what is wanted then.
 */
export class ListenerTurns {
  readonly #intervalMs: number;
  #left = AT_ONCE;
  #countedAt = Number.NEGATIVE_INFINITY;

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  may(now: number): boolean {
    this.#count(now);
    return this.#left > 0;
  }

  took(listeners: number, now: number): void {
    this.#count(now);
    this.#left = Math.max(0, this.#left - listeners);
  }

  /** When the next may go; undefined when it may now. */
  nextAt(now: number): number | undefined {
    return this.may(now) ? undefined : this.#countedAt + this.#intervalMs;
  }

  #count(now: number): void {
    const turns = Math.floor((now - this.#countedAt) / this.#intervalMs);
    if (this.#left + turns >= AT_ONCE) {
      this.#left = AT_ONCE;
      this.#countedAt = now;
    } else if (turns > 0) {
      this.#left += turns;
      this.#countedAt += turns * this.#intervalMs;
    }
  }
}

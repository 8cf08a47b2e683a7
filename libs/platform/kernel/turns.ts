/** How long work may go on before others have their turn, in ms: several pieces of long work under way together stay below what anybody notices. */
const TURN_MS = 8;

/** Runs work that stops now and then to its end at once. */
export function runToEnd<T>(work: Generator<undefined, T>): T {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
  }
}

/** Runs work that stops now and then to its end, and lets others have their turn whenever it has taken its own. */
export async function runInTurns<T>(work: Generator<undefined, T>): Promise<T> {
  const turn = new Turn();
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
    if (turn.isOver) await turn.next();
  }
}

/** What long work asks between its pieces: `if (turn.isOver) await turn.next()`. */
export class Turn {
  #until = performance.now() + TURN_MS;

  get isOver(): boolean {
    return performance.now() >= this.#until;
  }

  /** Lets everybody else go first. */
  async next(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#until = performance.now() + TURN_MS;
  }
}

/** What a function makes of each of many, in turns with others. */
export async function mapInTurns<T, R>(items: readonly T[], each: (item: T, index: number) => R): Promise<R[]> {
  const turn = new Turn();
  const results: R[] = [];
  for (let i = 0; i < items.length; i++) {
    results.push(each(items[i] as T, i));
    if (i % 64 === 63 && turn.isOver) await turn.next();
  }
  return results;
}

/** Does something with each of many. */
export async function eachInTurns<T>(items: Iterable<T>, each: (item: T) => void): Promise<void> {
  const turn = new Turn();
  for (const item of items) {
    each(item);
    if (turn.isOver) await turn.next();
  }
}

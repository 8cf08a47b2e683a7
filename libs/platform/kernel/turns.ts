/** How long work may go on before others have their turn, in ms: several pieces of long work under way together stay below what anybody notices. */
const TURN_MS = 8;

/** So many small things are done before the clock is looked at again. */
const PIECE = 100;
/** So many are sorted, or merged, at once: a millisecond. */
const RUN = 1_000;

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
    await giveWay();
    this.#until = performance.now() + TURN_MS;
  }
}

/** Does something with each of many, as work that stops now and then. */
export function* inPieces<T>(items: Iterable<T>, each: (item: T, index: number) => void): Generator<undefined, void> {
  let index = 0;
  for (const item of items) {
    each(item, index);
    index += 1;
    if (index % PIECE === 0) yield undefined;
  }
}

/** Sorts as `toSorted` does, as work that stops now and then: the engine's own sort of a hundred thousand does not stop for a tenth of a second. */
export function* sorting<T>(items: readonly T[], compare: (a: T, b: T) => number): Generator<undefined, T[]> {
  let runs: T[][] = [];
  for (let from = 0; from < items.length; from += RUN) {
    runs.push(items.slice(from, from + RUN).sort(compare));
    yield undefined;
  }
  while (runs.length > 1) {
    const merged: T[][] = [];
    for (let i = 0; i < runs.length; i += 2) merged.push(yield* merging(runs[i] ?? [], runs[i + 1] ?? [], compare));
    runs = merged;
  }
  return runs[0] ?? [];
}

function* merging<T>(left: readonly T[], right: readonly T[], compare: (a: T, b: T) => number): Generator<undefined, T[]> {
  const merged: T[] = [];
  let [l, r] = [0, 0];
  while (l < left.length || r < right.length) {
    const takesLeft = r >= right.length || (l < left.length && compare(left[l] as T, right[r] as T) <= 0);
    merged.push((takesLeft ? left[l++] : right[r++]) as T);
    if (merged.length % RUN === 0) yield undefined;
  }
  return merged;
}

/** Lets everybody else go first. */
export function giveWay(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
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

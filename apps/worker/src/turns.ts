/** Does this with each of the list, for so long in one turn of the event loop (milliseconds); what is left is done in the next ones. */
export function inTurns<T>(list: readonly T[], work: (one: T) => void, sliceMs: number, from = 0): void {
  const until = performance.now() + sliceMs;
  for (let i = from; i < list.length; i++) {
    if (i > from && performance.now() > until) {
      setImmediate(() => inTurns(list, work, sliceMs, i));
      return;
    }
    work(list[i] as T);
  }
}

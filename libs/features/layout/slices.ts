import { setImmediate } from 'node:timers/promises';

const sliceMs = 10;

/** Does something with each of many items, and lets the event loop go round every 10 ms. */
export async function inSlices<T>(items: Iterable<T>, each: (item: T) => void): Promise<void> {
  let end = performance.now() + sliceMs;
  for (const item of items) {
    each(item);
    if (performance.now() < end) continue;
    await setImmediate();
    end = performance.now() + sliceMs;
  }
}

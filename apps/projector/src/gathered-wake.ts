import type { Wake } from '#platform/eventstore/wake.js';

/**
 * Longer than a change needs until it serves and is proven, so that its record of that comes with it, and shorter than anybody notices. Milliseconds.
 * What a client wrote it reads from the log at once; only the route table and the trail come this much later.
 */
const GATHERED_MS = 25;

/**
 * Wakes of the log, told a little later: on a small machine what is woken with the worker takes the processor from a change on its way to Envoy. What moves
 * meanwhile is told at the same time, and each stream once.
 */
export function gatherWakes(wake: Wake): Wake {
  const subscribers = new Set<(stream: string | undefined) => void>();
  const moved = new Set<string | undefined>();
  let timer: NodeJS.Timeout | undefined;
  const tell = () => {
    timer = undefined;
    const streams = [...moved];
    moved.clear();
    for (const stream of streams) for (const subscriber of subscribers) subscriber(stream);
  };
  const unsubscribe = wake.subscribe((stream) => {
    moved.add(stream);
    timer ??= setTimeout(tell, GATHERED_MS);
  });
  return {
    subscribe(onWake) {
      subscribers.add(onWake);
      return () => subscribers.delete(onWake);
    },
    async close() {
      clearTimeout(timer);
      unsubscribe();
      await wake.close();
    },
  };
}

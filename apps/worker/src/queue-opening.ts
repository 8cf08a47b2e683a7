import { setTimeout as sleep } from 'node:timers/promises';

import type { Log } from '#platform/log/log.js';
import { openQueue, type Queue } from '#platform/queue/queue.js';

/** The queue's server may come later than the worker, or go and come again: until it is there the sweep does without. Undefined when it was given up. */
export async function openQueueWhenThere(
  options: Parameters<typeof openQueue>[0] & { readonly log: Log },
  givenUp: AbortSignal,
): Promise<Queue | undefined> {
  for (let waitMs = 200; !givenUp.aborted; waitMs = Math.min(5_000, waitMs * 2)) {
    try {
      return await openQueue(options);
    } catch (err) {
      options.log.error({ err }, 'the queue cannot be opened yet; targets are looked at without it');
      await sleep(waitMs, undefined, { signal: givenUp }).catch(() => undefined); // aborted: the loop ends
    }
  }
  return undefined;
}

import { waitUntil } from '#platform/envoy/wait-until.js';

/** Waits for a condition, asking again until the deadline. @throws Error naming what did not come about. */
export async function eventually(what: string, condition: () => boolean | Promise<boolean>, deadlineMs = 30_000): Promise<void> {
  const came = await waitUntil(async () => ((await condition()) ? true : null), { timeoutMs: deadlineMs, everyMs: 20 });
  if (came === null) throw new Error(`not within ${deadlineMs} ms: ${what}`);
}

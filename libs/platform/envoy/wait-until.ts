import { setTimeout as pause } from 'node:timers/promises';

/**
 * Asks again and again until the answer is not null, or the deadline passes (then null). For what the system will not tell us by an
 * event: a process that is not our child, a socket that another process is about to open.
 */
export async function waitUntil<T>(
  ask: () => T | null | Promise<T | null>,
  { timeoutMs, everyMs }: { timeoutMs: number; everyMs: number },
): Promise<T | null> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== null) return answer;
    if (performance.now() >= deadline) return null;
    await pause(everyMs);
  }
}

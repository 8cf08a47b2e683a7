import { Socket } from 'node:net';
import { isMainThread } from 'node:worker_threads';

/**
 * Loaded before a process of `bin/dev` (node --import): file descriptor 3 is a pipe that only the supervisor holds open. When it closes, the
 * supervisor is gone, however it went, and the process asks itself to end as SIGTERM would have it; after ten seconds it ends anyway.
 *
 * So a killed bin/dev leaves no control plane behind that nobody watches. What carries traffic is not loaded with this: Envoy, and the demo
 * services behind it, go on and are taken over by the next start.
 */
const GRACE_MS = 10_000;

// A thread is given what its process was started with, this file too; one that took the descriptor for its own would close it when it ends, and the
// process would read from whatever got its number next.
if (isMainThread) holdOn();

function holdOn(): void {
  const lifeline = new Socket({ fd: 3, readable: true, writable: false });
  const end = () => {
    setTimeout(() => process.exit(1), GRACE_MS).unref();
    process.kill(process.pid, 'SIGTERM');
  };
  lifeline.on('end', end);
  lifeline.on('error', end);
  lifeline.resume();
  lifeline.unref();
}

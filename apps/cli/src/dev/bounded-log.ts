import { closeSync, copyFileSync, fstatSync, openSync, truncateSync } from 'node:fs';

/** Each of a child's two files, the current one and the one before, stays below about this size. */
const MAX_BYTES = 10 * 1024 * 1024;
const LOOK_EVERY_MS = 5_000;

/**
 * A log file that a child writes to by itself (so that it can go on writing when the supervisor is gone) and that cannot fill the disk: once it is
 * over the limit it is copied to `<file>.1` and cut to nothing. The child appends, so its next line is at the new end; lines written between the copy and the cut are lost.
 */
export interface BoundedLog {
  readonly fd: number;
  readonly path: string;
  close(): void;
}

export function openBoundedLog(path: string): BoundedLog {
  const fd = openSync(path, 'a', 0o600);
  const timer = setInterval(() => {
    if (fstatSync(fd).size <= MAX_BYTES) return;
    copyFileSync(path, `${path}.1`);
    truncateSync(path, 0);
  }, LOOK_EVERY_MS);
  timer.unref();
  return {
    fd,
    path,
    close: () => {
      clearInterval(timer);
      closeSync(fd);
    },
  };
}

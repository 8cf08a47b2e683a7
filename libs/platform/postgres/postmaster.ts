import { readFileSync, readlinkSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { DomainError } from '#platform/kernel/errors.js';

/** What `postmaster.pid` says: a running server, or one that died without removing it. */
export interface Postmaster {
  readonly pid: number;
  readonly port: number;
}

/** The server that runs in `data`, or undefined. A file left by a dead server whose pid now belongs to another program is removed. */
export function runningPostmaster(data: string): Postmaster | undefined {
  const file = join(data, 'postmaster.pid');
  let lines: string[];
  try {
    lines = readFileSync(file, 'utf8').split('\n');
  } catch {
    return undefined; // no file: no server
  }
  const pid = Number(lines[0]);
  if (Number.isInteger(pid) && pid > 0 && isAlive(pid)) {
    if (worksIn(pid, data)) return { pid, port: Number(lines[3]) };
    // Postgres itself would refuse to start here ("is another postmaster running?"): it only asks whether the pid lives. Shared memory still guards
    // against a server that is really there.
    rmSync(file, { force: true });
  }
  return undefined;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')); // a zombie is dead, only not yet buried
  } catch {
    return process.platform !== 'linux';
  }
}

/** Whether the process is a Postgres of this data folder: a server's working directory is its data folder. Where /proc is missing, believe the file. */
function worksIn(pid: number, data: string): boolean {
  if (process.platform !== 'linux') return true;
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(data);
  } catch {
    return false;
  }
}

/**
 * Fast shutdown: sessions are ended, everything is flushed, exit. Resolves when the process is gone.
 * @throws DomainError `postgres_did_not_stop` after the deadline (60 s): it is left running, because a killed server must recover.
 */
export async function stopPostmaster(pid: number, deadlineMs = 60_000): Promise<void> {
  const end = performance.now() + deadlineMs;
  try {
    process.kill(pid, 'SIGINT');
  } catch {
    return; // already gone
  }
  while (isAlive(pid)) {
    if (performance.now() > end)
      throw new DomainError('unavailable', 'postgres_did_not_stop', `Postgres (pid ${pid}) did not stop within ${deadlineMs} ms.`);
    await sleep(10);
  }
}

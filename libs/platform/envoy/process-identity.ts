import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

/**
 * A process that cannot be mistaken for a later one with the same number: the pid and the tick (since boot) at which it started.
 * Nothing is ever signalled by its pid alone.
 */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: string;
}

interface ProcessStat {
  readonly state: string;
  readonly startTicks: string;
}

/** The process that has this pid now, or null when there is none or it is already dead (a zombie waits only to be reaped). */
export function identifyProcess(pid: number): ProcessIdentity | null {
  const stat = readStat(pid);
  return stat === null || isDead(stat) ? null : { pid, startTicks: stat.startTicks };
}

/** Whether exactly this process still runs. */
export function isRunning(process_: ProcessIdentity): boolean {
  const stat = readStat(process_.pid);
  return stat !== null && !isDead(stat) && stat.startTicks === process_.startTicks;
}

/** Sends a signal to exactly this process; false when it has already gone. */
export function signalProcess(process_: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isRunning(process_)) return false;
  try {
    process.kill(process_.pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/**
 * Asks of one process, again and again, whether it still runs. Its file in /proc is kept open: a read of it is one call to the system, and says that the
 * process is gone also when another one has its number by then.
 */
export class ProcessWatch {
  readonly #bytes = Buffer.alloc(1024);
  #of: ProcessIdentity | null = null;
  #fd: number | null = null;

  isRunning(process_: ProcessIdentity): boolean {
    if (this.#of !== process_) this.close();
    const stat = this.#read(process_);
    if (stat !== null && !isDead(stat) && stat.startTicks === process_.startTicks) return true;
    this.close();
    return false;
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
    this.#of = null;
  }

  #read(process_: ProcessIdentity): ProcessStat | null {
    return unlessGone(() => {
      this.#fd ??= openSync(`/proc/${process_.pid}/stat`, 'r');
      this.#of = process_;
      return toStat(this.#bytes.toString('latin1', 0, readSync(this.#fd, this.#bytes, 0, this.#bytes.length, 0)));
    });
  }
}

function isDead(stat: ProcessStat): boolean {
  return stat.state === 'Z' || stat.state === 'X';
}

function readStat(pid: number): ProcessStat | null {
  return unlessGone(() => toStat(readFileSync(`/proc/${pid}/stat`, 'latin1')));
}

function unlessGone<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ESRCH') return null;
    throw error;
  }
}

function toStat(text: string): ProcessStat | null {
  // The command stands in parentheses and may hold anything, so the fields are counted from its end: state is field 3, start time field 22.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  const startTicks = fields[19];
  return state === undefined || startTicks === undefined ? null : { state, startTicks };
}

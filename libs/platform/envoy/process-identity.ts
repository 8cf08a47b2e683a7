import { readFileSync } from 'node:fs';

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

function isDead(stat: ProcessStat): boolean {
  return stat.state === 'Z' || stat.state === 'X';
}

function readStat(pid: number): ProcessStat | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ESRCH') return null;
    throw error;
  }
  // The command stands in parentheses and may hold anything, so the fields are counted from its end: state is field 3, start time field 22.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  const startTicks = fields[19];
  return state === undefined || startTicks === undefined ? null : { state, startTicks };
}

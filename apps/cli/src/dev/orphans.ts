import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

import { identifyProcess, isRunning, type ProcessIdentity, signalProcess } from '#platform/envoy/process-identity.js';
import { waitUntil } from '#platform/envoy/wait-until.js';

/** A process of an earlier bin/dev on the same data folder. */
export interface Orphan {
  readonly name: string;
  readonly build: string;
  readonly process: ProcessIdentity;
}

/** Every child gets these in its environment: where the kernel keeps them for us, at no risk of a record that was not written in time. */
export const DIR_VARIABLE = 'CHANCERY_DEV_DIR';
export const NAME_VARIABLE = 'CHANCERY_DEV_PROCESS';
export const BUILD_VARIABLE = 'CHANCERY_DEV_BUILD';

/** Node processes that a bin/dev on this folder started and that still run. */
export function findOrphans(dir: string): readonly Orphan[] {
  const found: Orphan[] = [];
  for (const pid of processIds()) {
    const env = environmentOf(pid);
    const process_ = env.get(DIR_VARIABLE) === dir ? identifyProcess(pid) : null;
    if (process_ !== null) found.push({ name: env.get(NAME_VARIABLE) ?? '', build: env.get(BUILD_VARIABLE) ?? '', process: process_ });
  }
  return found;
}

/** Every Envoy that works in a folder below `dir`; its environment is empty, its working directory tells whose it is. Oldest epoch first. */
export function findEnvoys(dir: string): readonly ProcessIdentity[] {
  const found: { process: ProcessIdentity; epoch: number }[] = [];
  for (const pid of processIds()) {
    const words = workingBelow(pid, dir) ? commandLineOf(pid) : [];
    const epoch = words.indexOf('--restart-epoch');
    const process_ = epoch > 0 && words.includes('--base-id') ? identifyProcess(pid) : null;
    if (process_ !== null) found.push({ process: process_, epoch: Number(words[epoch + 1]) });
  }
  return found.sort((a, b) => a.epoch - b.epoch).map((envoy) => envoy.process);
}

/** SIGTERM, and after the deadline SIGKILL. Resolves when all of them are gone; answers those that had to be killed. */
export async function endProcesses(processes: readonly ProcessIdentity[], deadlineMs: number): Promise<readonly ProcessIdentity[]> {
  for (const process_ of processes) signalProcess(process_, 'SIGTERM');
  await untilGone(processes, deadlineMs);
  const left = processes.filter(isRunning);
  for (const process_ of left) signalProcess(process_, 'SIGKILL');
  await untilGone(left, 5_000);
  return left;
}

async function untilGone(processes: readonly ProcessIdentity[], deadlineMs: number): Promise<void> {
  await waitUntil(() => (processes.some(isRunning) ? null : true), { timeoutMs: deadlineMs, everyMs: 20 });
}

function processIds(): number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid)
    .map(Number);
}

function environmentOf(pid: number): ReadonlyMap<string, string> {
  const entries = readProc(pid, 'environ').map((line): [string, string] => {
    const at = line.indexOf('=');
    return [line.slice(0, at), line.slice(at + 1)];
  });
  return new Map(entries);
}

function commandLineOf(pid: number): readonly string[] {
  return readProc(pid, 'cmdline');
}

function readProc(pid: number, file: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0');
  } catch {
    return []; // ended meanwhile, or another user's: not ours
  }
}

function workingBelow(pid: number, dir: string): boolean {
  try {
    const cwd = readlinkSync(`/proc/${pid}/cwd`);
    return cwd === dir || cwd.startsWith(`${dir}/`);
  } catch {
    return false; // as above
  }
}

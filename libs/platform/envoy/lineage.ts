import { randomInt } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomically } from './durable-file.js';
import { readInitializingFlag, sharedMemoryExists } from './shared-memory.js';

/** The base id that all epochs of one Envoy's hot restarts share, and the last epoch that was started with it. */
export interface Lineage {
  readonly baseId: number;
  readonly epoch: number;
}

/** Where an epoch is to be started. */
export interface EpochPlace extends Lineage {
  readonly skipOnNoParent: boolean;
}

/** Envoy multiplies the base id by ten and keeps it in 32 bits. */
const MAX_BASE_ID = 400_000_000;

/**
 * The lineage last recorded in this folder, or null. It is a hint for the time when no process is left to ask; running processes carry
 * the same numbers on their command lines. A torn or foreign file counts as none: a new lineage is always possible.
 */
export function readLineage(folder: string): Lineage | null {
  let text: string;
  try {
    text = readFileSync(lineageFile(folder), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const match = /^(\d{1,9}) (\d{1,9})\n$/.exec(text);
  return match === null ? null : { baseId: Number(match[1]), epoch: Number(match[2]) };
}

export function writeLineage(folder: string, { baseId, epoch }: Lineage): void {
  writeFileAtomically(lineageFile(folder), `${baseId} ${epoch}\n`, { durable: false });
}

export function forgetLineage(folder: string): void {
  rmSync(lineageFile(folder), { force: true });
}

/**
 * A new lineage. The base id is drawn by us and not by Envoy (--use-dynamic-base-id), so that it stands on the command line of every
 * epoch and an orphan can be told from the process table alone. A clash with another Envoy is refused by Envoy at once and unharmed.
 */
export function newLineage(): EpochPlace {
  for (;;) {
    const baseId = randomInt(1, MAX_BASE_ID);
    if (!sharedMemoryExists(baseId)) return { baseId, epoch: 0, skipOnNoParent: false };
  }
}

/**
 * Where to start when no process is left: after the last epoch of the recorded lineage while its shared memory is whole (Envoy aborts
 * when the file is gone), and in any case, second, a new lineage.
 */
export function placesWithoutParent(recorded: Lineage | null): readonly EpochPlace[] {
  const fresh = newLineage();
  if (recorded === null) return [fresh];
  const flag = readInitializingFlag(recorded.baseId);
  if (flag === 'absent' || flag === 'unknown layout') return [fresh];
  return [{ baseId: recorded.baseId, epoch: recorded.epoch + 1, skipOnNoParent: true }, fresh];
}

function lineageFile(folder: string): string {
  return join(folder, 'lineage');
}

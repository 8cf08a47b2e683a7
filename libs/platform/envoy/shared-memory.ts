import { closeSync, existsSync, fstatSync, openSync, readSync, rmSync, writeSync } from 'node:fs';

/**
 * The few bytes that all epochs of one lineage share: /dev/shm/envoy_shared_memory_<10 * base id>.
 *
 * Its layout in Envoy 1.40 (hot restart version 11.104): u64 size, u64 version, two process-shared mutexes, u64 flags; 104 bytes.
 * Flag 1 means "an epoch is initializing". A child that dies before it is live leaves it set, and every later child then exits with
 * "previous envoy process is still initializing": clearing it is the cure, and is right only when no child is left.
 */
const SIZE = 104;
const VERSION = 11n;
const FLAGS_OFFSET = 96;

export type InitializingFlag = 'clear' | 'set' | 'absent' | 'unknown layout';

/** What the flag says, without touching it. `unknown layout` means another Envoy version: leave it alone. */
export function readInitializingFlag(baseId: number): InitializingFlag {
  return withSharedMemory(baseId, 'r', (_fd, flags) => (flags === 0n ? 'clear' : 'set'));
}

/**
 * Clears the flag, guarded by size and version. Call it only when the child that set it is dead: clearing it under a living child lets
 * two epochs initialize at once. Answers what the flag was.
 */
export function clearInitializingFlag(baseId: number): InitializingFlag {
  return withSharedMemory(baseId, 'r+', (fd, flags) => {
    if (flags === 0n) return 'clear';
    writeSync(fd, Buffer.alloc(8), 0, 8, FLAGS_OFFSET);
    return 'set';
  });
}

/** Removes the file of a lineage that has no process left; Envoy never does. */
export function removeSharedMemory(baseId: number): void {
  rmSync(sharedMemoryPath(baseId), { force: true });
}

export function sharedMemoryExists(baseId: number): boolean {
  return existsSync(sharedMemoryPath(baseId));
}

export function sharedMemoryPath(baseId: number): string {
  return `/dev/shm/envoy_shared_memory_${baseId * 10}`;
}

function withSharedMemory(baseId: number, mode: 'r' | 'r+', use: (fd: number, flags: bigint) => InitializingFlag): InitializingFlag {
  let fd: number;
  try {
    fd = openSync(sharedMemoryPath(baseId), mode);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'absent';
    throw error;
  }
  try {
    const bytes = Buffer.alloc(SIZE);
    if (fstatSync(fd).size !== SIZE || readSync(fd, bytes, 0, SIZE, 0) !== SIZE) return 'unknown layout';
    if (bytes.readBigUInt64LE(0) !== BigInt(SIZE) || bytes.readBigUInt64LE(8) !== VERSION) return 'unknown layout';
    return use(fd, bytes.readBigUInt64LE(FLAGS_OFFSET));
  } finally {
    closeSync(fd);
  }
}

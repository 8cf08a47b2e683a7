import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { sha256Hex } from '#platform/kernel/digest.js';

/**
 * Writes a file so that a reader, or a machine that lost its power, sees the old content or the new, never a part: a temporary file
 * beside it, fsync, rename, fsync of the folder. Mode 0600, because configurations may hold keys.
 *
 * `durable: false` leaves the two fsyncs out: for files that are rebuilt at every start and only need to be whole (endpoints).
 */
export function writeFileAtomically(path: string, content: string | Uint8Array, { durable = true }: { durable?: boolean } = {}): void {
  const folder = dirname(path);
  const temporary = join(folder, `.${randomBytes(6).toString('hex')}.tmp`);
  try {
    const fd = openSync(temporary, 'wx', 0o600);
    try {
      const bytes = typeof content === 'string' ? Buffer.from(content) : content;
      for (let offset = 0; offset < bytes.length; ) offset += writeSync(fd, bytes, offset);
      if (durable) fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  if (durable) syncFolder(folder);
}

/** Makes renames and removals in a folder last. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Writes JSON with its SHA-256 in the line before it, atomically: what readCheckedJson reads. */
export function writeCheckedJson(path: string, value: unknown, options: { durable?: boolean } = {}): void {
  const body = JSON.stringify(value);
  writeFileAtomically(path, `${sha256Hex(body)}\n${body}`, options);
}

/** What a file of writeCheckedJson holds; `damaged` when a byte of it is not as it was written. */
export function readCheckedJson(path: string): { readonly value: unknown } | 'absent' | 'damaged' {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'absent';
    throw error;
  }
  const body = bytes.subarray(65);
  if (bytes[64] !== 10 || sha256Hex(body) !== bytes.subarray(0, 64).toString('latin1')) return 'damaged';
  return { value: JSON.parse(body.toString('utf8')) };
}

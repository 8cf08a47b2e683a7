import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';

import { DomainError } from '#platform/kernel/errors.js';

import type { KeyEncryptionKey } from './sealing.js';

/** The keys of a key file: any of them reads, one writes. */
export interface KeyRing {
  readonly writes: KeyEncryptionKey;
  readonly all: ReadonlyMap<string, KeyEncryptionKey>;
}

const KEY_BYTES = 32;
const idPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/**
 * The file that holds the keys under which secrets are kept: `{"writes": "<id>", "keys": {"<id>": "<32 bytes in base64>"}}`. It lives outside the database,
 * and is read again when it was changed, so that a new key needs no restart.
 */
export class KeyFile {
  readonly #path: string | undefined;
  #read: { readonly mark: string; readonly ring: KeyRing } | undefined;

  /** `path` undefined: none was configured. */
  constructor(path: string | undefined) {
    this.#path = path;
  }

  /** @throws DomainError unavailable `key_file_unset`, `key_file_unreadable`, `key_file_open`, `key_file_malformed`. */
  keys(): KeyRing {
    if (this.#path === undefined)
      throw unusable('key_file_unset', 'No key file is configured, so no private key can be kept or read: set CHANCERY_KEK_FILE.');
    const mark = markOf(this.#path);
    if (this.#read?.mark !== mark) this.#read = { mark, ring: readKeyFile(this.#path) };
    return this.#read.ring;
  }

  /** The key of this id. @throws DomainError as `keys`; unavailable `key_missing`. */
  key(id: string): KeyEncryptionKey {
    const found = this.keys().all.get(id);
    if (found !== undefined) return found;
    throw unusable(
      'key_missing',
      `The key file does not hold the key ${id} that a secret was kept with: put it back into CHANCERY_KEK_FILE.`,
    );
  }
}

/** What changes when the file does; the file is replaced, or written in place. */
function markOf(path: string): string {
  try {
    const { mtimeMs, ino, size, mode } = statSync(path);
    return [mtimeMs, ino, size, mode].join(' ');
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** Reads a key file. @throws DomainError as `KeyFile.keys`. */
export function readKeyFile(path: string): KeyRing {
  let text: string;
  try {
    // Kubernetes mounts secrets readable by the group of the pod; by everybody is what nobody can have wanted.
    if ((statSync(path).mode & 0o007) !== 0)
      throw unusable('key_file_open', `The key file ${path} can be read or changed by every user of this machine: chmod 600 ${path}`);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw error instanceof DomainError ? error : unreadable(path, error);
  }
  return parseKeys(text, path);
}

function parseKeys(text: string, path: string): KeyRing {
  const malformed = (what: string) =>
    unusable('key_file_malformed', `The key file ${path} ${what}; "chancery keys make" writes one as it should be.`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw malformed('is not JSON'); // without its cause, which quotes the text
  }
  const { writes, keys } = (typeof parsed === 'object' && parsed !== null ? parsed : {}) as { writes?: unknown; keys?: unknown };
  if (typeof keys !== 'object' || keys === null || Array.isArray(keys)) throw malformed('has no "keys"');
  const all = new Map<string, KeyEncryptionKey>();
  for (const [id, value] of Object.entries(keys)) {
    const bytes = typeof value === 'string' ? Buffer.from(value, 'base64') : Buffer.alloc(0);
    if (!idPattern.test(id) || bytes.length !== KEY_BYTES)
      throw malformed(`has a key that is not ${KEY_BYTES} bytes in base64 under a plain name`);
    all.set(id, { id, bytes });
  }
  const writing = typeof writes === 'string' ? all.get(writes) : undefined;
  if (writing === undefined) throw malformed('does not say in "writes" which of its keys is used for what is new');
  return { writes: writing, all };
}

/** A key file's text with one more key, which is the one that writes from now on. */
export function withNewKey(present: KeyRing | undefined, id: string): KeyRing {
  if (!idPattern.test(id) || present?.all.has(id) === true)
    throw new DomainError(
      'invalid',
      'key_id_invalid',
      `${JSON.stringify(id.slice(0, 80))} cannot be the name of a new key: it is taken, or not a plain name.`,
    );
  const key = { id, bytes: randomBytes(KEY_BYTES) };
  return { writes: key, all: new Map([...(present?.all ?? []), [id, key]]) };
}

/** Makes a key file with one key where there is none. One that is there is left as it is. */
export function ensureKeyFile(path: string): void {
  if (!existsSync(path)) writeKeyFile(path, withNewKey(undefined, newKeyId()));
}

/** A name for a new key: the day that it was made, and a part that no other of that day has. */
export function newKeyId(): string {
  return `${new Date().toISOString().slice(0, 10)}-${randomBytes(3).toString('hex')}`;
}

/** Writes a key file so that a reader, or a crash, meets the old one or the new one. Only its owner can read it. */
export function writeKeyFile(path: string, { writes, all }: KeyRing): void {
  const keys = Object.fromEntries([...all.values()].map(({ id, bytes }) => [id, bytes.toString('base64')]));
  writeFileSync(`${path}.new`, `${JSON.stringify({ writes: writes.id, keys }, null, 2)}\n`, { mode: 0o600, flush: true });
  renameSync(`${path}.new`, path);
}

function unreadable(path: string, error: unknown): DomainError {
  return unusable(
    'key_file_unreadable',
    `The key file ${path} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'}): see CHANCERY_KEK_FILE.`,
  );
}

function unusable(code: string, message: string): DomainError {
  return new DomainError('unavailable', code, message);
}

import {
  closeSync,
  fdatasync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { syncFolder } from './durable-file.js';

/** How much is written in one go while a segment is begun beside the work: a few milliseconds. */
const SLICE_BYTES = 1024 * 1024;

/**
 * The files of the live store: `<number>.segment`, written at the end of the newest only, never changed. A new one is made whole beside it and
 * takes its place by a rename.
 */
export class LiveSegments {
  readonly #folder: string;
  #numbers: number[];
  #fd: number | null = null;
  #size = 0;
  #syncing = false;
  #unsynced = false;
  #waiting: (() => void)[] = [];

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const names = readdirSync(folder);
    // What is left of a segment that was not finished. A disk that is read-only keeps it; it is never read.
    for (const name of names.filter((one) => one.endsWith('.tmp'))) tryTo(() => rmSync(join(folder, name)));
    this.#numbers = names.flatMap((name) => /^(\d+)\.segment$/.exec(name)?.[1] ?? []).map(Number);
    this.#numbers.sort((a, b) => a - b);
    const last = this.#numbers.at(-1);
    this.#size = last === undefined ? 0 : statSync(this.#path(last)).size;
  }

  /** Oldest first. */
  get numbers(): readonly number[] {
    return this.#numbers;
  }

  /** Bytes of the newest one. */
  get size(): number {
    return this.#size;
  }

  read(number: number): Buffer {
    return readFileSync(this.#path(number));
  }

  /**
   * Adds bytes to the newest segment, all or none of them. They survive this process when it returns; the disk is asked for them afterwards, since a power
   * cut ends Envoy too: `synced` says when it has them.
   * @throws what the system says when they cannot be written; nothing has changed then.
   */
  append(bytes: Buffer): void {
    const fd = this.#opened();
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, this.#size + done);
    } catch (error) {
      // Should this fail too, the next bytes are written over what is left.
      tryTo(() => ftruncateSync(fd, this.#size));
      throw error;
    }
    this.#size += bytes.length;
    this.#unsynced = true;
    setImmediate(() => this.#sync()); // what an Envoy waits for goes first
  }

  /** Resolves when the disk has all that was appended; also when it cannot keep it, which the next write is told. */
  synced(): Promise<void> {
    if (!this.#unsynced && !this.#syncing) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Begins a segment that opens with these bytes, on the disk when it counts. `rest` gives, at the end and at once, what came meanwhile. */
  async begin(content: Iterable<Uint8Array>, rest: () => Buffer): Promise<void> {
    const number = (this.#numbers.at(-1) ?? 0) + 1;
    const temporary = `${this.#path(number)}.tmp`;
    try {
      const file = await open(temporary, 'w', 0o600);
      try {
        for (const slice of slices(content)) await file.appendFile(slice);
        await file.datasync();
      } finally {
        await file.close();
      }
      const fd = openSync(temporary, 'a', 0o600);
      let size = statSync(temporary).size;
      try {
        const last = rest();
        for (let done = 0; done < last.length; ) done += writeSync(fd, last, done, last.length - done);
        size += last.length;
        renameSync(temporary, this.#path(number));
      } finally {
        closeSync(fd);
      }
      this.close();
      this.#numbers.push(number);
      this.#size = size;
      syncFolder(this.#folder);
      tryTo(() => this.#opened()); // or the next append does it
      this.#unsynced = true;
      this.#sync();
    } catch (error) {
      tryTo(() => rmSync(temporary, { force: true }));
      throw error;
    }
  }

  drop(number: number): void {
    this.#numbers = this.#numbers.filter((one) => one !== number);
    rmSync(this.#path(number), { force: true });
  }

  close(): void {
    if (this.#fd !== null && !this.#syncing) closeSync(this.#fd);
    this.#fd = null;
  }

  #opened(): number {
    if (this.#fd !== null) return this.#fd;
    const last = this.#numbers.at(-1) ?? 1;
    this.#fd = openSync(this.#path(last), this.#numbers.length === 0 ? 'w' : 'r+', 0o600);
    if (this.#numbers.length === 0) {
      this.#numbers.push(last);
      this.#size = 0;
      syncFolder(this.#folder);
    }
    return this.#fd;
  }

  /** One request to the disk at a time, and one more when something came meanwhile. */
  #sync(): void {
    const fd = this.#fd;
    if (this.#syncing) return;
    if (!this.#unsynced || fd === null) {
      for (const resolve of this.#waiting.splice(0)) resolve();
      return;
    }
    this.#syncing = true;
    this.#unsynced = false;
    fdatasync(fd, () => {
      this.#syncing = false;
      if (this.#fd !== fd) closeSync(fd);
      this.#sync();
    });
  }

  #path(number: number): string {
    return join(this.#folder, `${String(number).padStart(8, '0')}.segment`);
  }
}

function* slices(content: Iterable<Uint8Array>): Generator<Buffer> {
  let waiting: Uint8Array[] = [];
  let bytes = 0;
  for (const part of content) {
    waiting.push(part);
    bytes += part.length;
    if (bytes < SLICE_BYTES) continue;
    yield Buffer.concat(waiting);
    waiting = [];
    bytes = 0;
  }
  yield Buffer.concat(waiting);
}

function tryTo(work: () => void): void {
  try {
    work();
  } catch {
    // Tidying up only; the caller says what happens when it stays untidy.
  }
}

import { createPublicKey, type KeyObject } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';

import { syncFolder } from '#platform/envoy/durable-file.js';
import type { LogHead } from '#platform/eventstore/log-heads.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import type { Log } from '#platform/log/log.js';

import { openAnchorKey } from './anchor-key.js';
import { AnchorChain, signAnchor } from './anchor-line.js';
import { readLines } from './anchor-lines.js';

/** What is known of the file: everything up to `end`. */
interface Known {
  readonly chain: AnchorChain;
  readonly anchored: Map<string, LogHead>;
  /** Identity of the file; another one at its path is read from its beginning. */
  readonly inode: number;
  previous: string | null;
  end: number;
}

/**
 * Appends anchors to a file outside the database: one signed line for the heads that moved. The file is only ever appended to (it may be `chattr +a`),
 * each line in one write, synced before it counts. The rest of a write that did not end is closed with a line break and left where it is.
 */
export class AnchorWriter {
  readonly #path: string;
  readonly #key: KeyObject;
  readonly #log: Log;
  #known: Known | undefined;

  /** @throws Error for a key that cannot be used, see openAnchorKey. */
  constructor({ path, keyFile, log }: { path: string; keyFile: string; log: Log }) {
    this.#path = path;
    this.#key = openAnchorKey(keyFile);
    this.#log = log;
  }

  /**
   * Anchors those of these heads that are not anchored yet.
   * @returns how many; 0 writes nothing.
   * @throws Error of the file system; what was written then counts only if it is found whole the next time.
   */
  async append(heads: readonly LogHead[], time: Date): Promise<number> {
    const handle = await open(this.#path, 'a+', 0o644);
    try {
      let known = await this.#read(handle);
      if ((await handle.stat()).size > known.end) {
        await handle.write('\n'); // closes what another write left; it may be a whole line but for that
        known = await this.#read(handle);
      }
      const moved = heads.filter(({ stream, version, hash }) => {
        const last = known.anchored.get(stream);
        return last === undefined || last.version !== version || last.hash !== hash;
      });
      if (moved.length === 0) return 0;
      const line = signAnchor({ time: time.toISOString(), heads: moved, previous: known.previous }, this.#key);
      const bytes = Buffer.from(`${line}\n`);
      this.#known = undefined; // until the line is on disk, the file itself says what is in it
      for (let offset = 0; offset < bytes.length; ) offset += (await handle.write(bytes, offset)).bytesWritten;
      await handle.sync();
      if (known.end === 0) syncFolder(dirname(this.#path));
      for (const head of moved) known.anchored.set(head.stream, head);
      known.previous = sha256Hex(line);
      known.end += bytes.length;
      known.chain.check(line);
      this.#known = known;
      return moved.length;
    } finally {
      await handle.close();
    }
  }

  /** Reads what the file holds beyond what is known: all of it at the start, another owner's lines after a change of owners. */
  async #read(handle: FileHandle): Promise<Known> {
    const { ino, size } = await handle.stat();
    let known = this.#known;
    if (known !== undefined && (known.inode !== ino || known.end > size)) {
      this.#log.error({ file: this.#path }, 'the anchor file was replaced or shortened; it is read again from its beginning');
      known = undefined;
    }
    known ??= { chain: new AnchorChain(createPublicKey(this.#key)), anchored: new Map(), inode: ino, previous: null, end: 0 };
    for await (const { text, end } of readLines(handle, known.end)) {
      const { anchor, fault, line } = known.chain.check(text);
      if (fault !== null) this.#log.error({ file: this.#path, line, fault: fault.message }, 'the anchor file was tampered with');
      if (anchor !== null) {
        for (const head of anchor.heads) known.anchored.set(head.stream, head);
        known.previous = sha256Hex(text);
      }
      known.end = end;
    }
    this.#known = known;
    return known;
  }
}

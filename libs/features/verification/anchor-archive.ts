import type { KeyObject } from 'node:crypto';
import { type FileHandle, open, readFile } from 'node:fs/promises';

import type { Db } from '#platform/database/database.js';
import { compareHeads } from '#platform/eventstore/log-heads.js';

import { readPublicKey } from './anchor-key.js';
import { AnchorChain } from './anchor-line.js';
import { readLines } from './anchor-lines.js';
import { type AnchoredHead, type AnchorFault, AnchorJudgement, anchorFileFault } from './verification.js';

/** Heads compared in one statement. */
const COMPARED = 5_000;

/** Where the anchors are, and the public half of the key that they were signed with. */
export interface AnchorPlace {
  readonly file: string;
  readonly publicKeyFile: string;
}

/** What the anchors say. */
export interface AnchorsFound {
  readonly judgement: AnchorJudgement;
  /** Faults of the file itself, then those of the streams. */
  readonly faults: readonly AnchorFault[];
  /** How many anchors (lines) there are. */
  readonly count: number;
  readonly lastAt: string | null;
  /** The file does not exist, or nothing was written yet. */
  readonly empty: boolean;
  /** Lines that are the rest of a write that did not end. */
  readonly torn: number;
}

interface Progress {
  readonly chain: AnchorChain;
  readonly judgement: AnchorJudgement;
  readonly fileFaults: AnchorFault[];
  readonly inode: number;
  /** The last line that was read, to see that it is still there. */
  last: { readonly start: number; readonly text: string } | undefined;
  end: number;
  count: number;
  torn: number;
  lastAt: string | null;
}

/** Reads the anchor file and compares it with the database; remembers how far it has got, since the file only grows. */
export class AnchorArchive {
  #progress: Progress | undefined;
  #rewritten: AnchorFault | undefined;

  constructor(private readonly place: AnchorPlace) {}

  /**
   * Compares the anchors that are new since the last time, and the newest of each stream once more; `whole` compares all of them.
   * @throws whatever `signal` was aborted with; the errors of the database.
   */
  async check(db: Db, { whole, signal }: { whole: boolean; signal?: AbortSignal }): Promise<AnchorsFound> {
    let handle: FileHandle;
    try {
      handle = await open(this.place.file, 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT' && this.#progress === undefined) return nothingFound(undefined);
      return nothingFound(`The anchor file cannot be read: ${(error as Error).message}.`);
    }
    try {
      let publicKey: KeyObject;
      try {
        publicKey = readPublicKey(await readFile(this.place.publicKeyFile));
      } catch (error) {
        return nothingFound(`The public key of the anchors cannot be used: ${(error as Error).message}.`);
      }
      const progress = await this.#resume(handle, publicKey, db, whole);
      this.#progress = undefined; // one that failed half way is not gone on with
      await readOn(handle, progress, db, signal);
      this.#progress = progress;
      const { judgement, count, lastAt, torn, fileFaults } = progress;
      const rewritten = this.#rewritten === undefined ? [] : [this.#rewritten];
      return { judgement, count, lastAt, torn, empty: count === 0, faults: [...rewritten, ...fileFaults, ...judgement.faults()] };
    } finally {
      await handle.close();
    }
  }

  /** Where to go on: behind what was read before, unless the file or the database is no longer what it was then. */
  async #resume(handle: FileHandle, publicKey: KeyObject, db: Db, whole: boolean): Promise<Progress> {
    const known = this.#progress;
    if (known !== undefined) {
      if (!(await stillThere(handle, known))) {
        const message = `The anchor file no longer holds what was read from it before (${known.count} anchors): it was replaced, shortened or changed.`;
        this.#rewritten = anchorFileFault('anchor_file_rewritten', known.chain.lines, message);
      } else if (!whole && known.judgement.faults().length === 0 && (await stillMatches(db, known.judgement.matched()))) return known;
    }
    const { ino } = await handle.stat();
    const chain = new AnchorChain(publicKey);
    return {
      chain,
      judgement: new AnchorJudgement(),
      fileFaults: [],
      inode: ino,
      last: undefined,
      end: 0,
      count: 0,
      torn: 0,
      lastAt: null,
    };
  }
}

/** `problem`: why the anchors cannot be read; undefined when there are none yet. */
function nothingFound(problem: string | undefined): AnchorsFound {
  const faults = problem === undefined ? [] : [anchorFileFault('anchor_unreadable', null, problem)];
  return { judgement: new AnchorJudgement(), faults, count: 0, lastAt: null, empty: problem === undefined, torn: 0 };
}

async function stillThere(handle: FileHandle, { inode, last }: Progress): Promise<boolean> {
  const { ino } = await handle.stat();
  if (ino !== inode) return false;
  if (last === undefined) return true;
  const expected = Buffer.from(`${last.text}\n`);
  const found = Buffer.alloc(expected.length);
  const { bytesRead } = await handle.read(found, 0, expected.length, last.start);
  return bytesRead === expected.length && found.equals(expected);
}

async function stillMatches(db: Db, heads: readonly AnchoredHead[]): Promise<boolean> {
  return (await compareHeads(db, heads)).every(({ recorded, hash }) => recorded === hash);
}

async function readOn(handle: FileHandle, progress: Progress, db: Db, signal: AbortSignal | undefined): Promise<void> {
  let waiting: AnchoredHead[] = [];
  const compare = async () => {
    signal?.throwIfAborted();
    const compared = await compareHeads(db, waiting);
    for (const [index, anchor] of waiting.entries()) progress.judgement.add(anchor, compared[index] ?? { recorded: null, last: null });
    waiting = [];
  };
  for await (const { text, end } of readLines(handle, progress.end)) {
    const checked = progress.chain.check(text);
    progress.last = { start: progress.end, text };
    progress.end = end;
    if (checked.fault !== null) progress.fileFaults.push(checked.fault);
    if ('torn' in checked) progress.torn += 1;
    if (checked.anchor === null) continue;
    const { anchor, line } = checked;
    progress.count += 1;
    progress.lastAt = anchor.time;
    waiting.push(...anchor.heads.map((head) => ({ ...head, line, time: anchor.time })));
    if (waiting.length >= COMPARED) await compare();
  }
  await compare();
}

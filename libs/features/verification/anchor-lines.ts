import type { FileHandle } from 'node:fs/promises';

const CHUNK_BYTES = 256 * 1024;

/** A line that ended with a line break, and the offset behind it. */
export interface FileLine {
  readonly text: string;
  readonly end: number;
}

/** The complete lines of a file from an offset on. What follows the last line break is left for the next time. */
export async function* readLines(handle: FileHandle, from: number): AsyncGenerator<FileLine> {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  let rest = Buffer.alloc(0);
  let offset = from;
  for (;;) {
    const { bytesRead } = await handle.read(chunk, 0, CHUNK_BYTES, offset + rest.length);
    if (bytesRead === 0) return;
    rest = Buffer.concat([rest, chunk.subarray(0, bytesRead)]);
    for (let at = rest.indexOf(10); at >= 0; at = rest.indexOf(10)) {
      offset += at + 1;
      yield { text: rest.toString('utf8', 0, at), end: offset };
      rest = rest.subarray(at + 1);
    }
  }
}

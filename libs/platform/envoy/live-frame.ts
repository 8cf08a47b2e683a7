import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';

/*
 * The form of everything in the live store: frames one after the other, each of which can be told to be whole by itself.
 *
 *   0  magic      4 bytes
 *   4  kind       1 byte, then 3 of nothing
 *   8  length     of the payload, 4 bytes, little endian
 *  12  CRC-32     of the 12 bytes before
 *  16  SHA-256    of the payload; for an object this is its name too
 *  48  payload
 *
 * A reader that meets damage looks for the next magic whose head is whole: what is lost is the frame that was hit, and no other.
 */

/** An object is the content of a resource or a bootstrap; a release names objects by their hash; a mark says what became of a release. */
export type FrameKind = 'object' | 'release' | 'mark';

export interface Frame {
  readonly kind: FrameKind;
  /** Of the payload, as the head says: 64 hexadecimal digits. Whether the payload still has it is for `payloadOf` to find out. */
  readonly sha256: string;
  /** Where the payload begins in what was scanned. */
  readonly at: number;
  readonly length: number;
}

const MAGIC = Buffer.from('cHlV');
const HEAD = 48;
const KINDS: readonly FrameKind[] = ['object', 'release', 'mark'];

/** The head of a frame for this payload. `sha256` (32 bytes) is given when it is known already. */
export function frameHead(kind: FrameKind, payload: Uint8Array, sha256: Uint8Array = digestOf(payload)): Buffer {
  const head = Buffer.alloc(HEAD);
  MAGIC.copy(head, 0);
  head[4] = KINDS.indexOf(kind) + 1;
  head.writeUInt32LE(payload.length, 8);
  head.writeUInt32LE(crc32(head.subarray(0, 12)), 12);
  head.set(sha256, 16);
  return head;
}

/** Every frame whose head is whole, in order; `onGap` hears of each stretch that holds none. Payloads are not looked at. */
export function* scanFrames(bytes: Buffer, onGap: (at: number) => void): Generator<Frame> {
  for (let at = 0; at < bytes.length; ) {
    const frame = frameAt(bytes, at);
    if (frame !== null) {
      yield frame;
      at = frame.at + frame.length;
      continue;
    }
    onGap(at);
    do at = bytes.indexOf(MAGIC, at + 1);
    while (at >= 0 && frameAt(bytes, at) === null);
    if (at < 0) return;
  }
}

/** The payload of a frame, or null when a byte of it is not as it was written. A view: copy what is to be kept. */
export function payloadOf(bytes: Buffer, { sha256, at, length }: Frame): Buffer | null {
  const payload = bytes.subarray(at, at + length);
  return digestOf(payload).toString('hex') === sha256 ? payload : null;
}

function frameAt(bytes: Buffer, at: number): Frame | null {
  if (at + HEAD > bytes.length || !bytes.subarray(at, at + 4).equals(MAGIC)) return null;
  if (crc32(bytes.subarray(at, at + 12)) !== bytes.readUInt32LE(at + 12)) return null;
  const kind = KINDS[(bytes[at + 4] ?? 0) - 1];
  const length = bytes.readUInt32LE(at + 8);
  if (kind === undefined || at + HEAD + length > bytes.length) return null;
  return { kind, sha256: bytes.toString('hex', at + 16, at + HEAD), at: at + HEAD, length };
}

function digestOf(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

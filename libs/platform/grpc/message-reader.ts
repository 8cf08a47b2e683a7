import { CallFault, Status } from './status.js';

/** Compressed or not, and the length. */
const PREFIX = 5;

/** Cuts what comes into messages. What it answers is part of what came, or was put together from several parts: to be read at once, not to be kept. */
export class MessageReader {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #bytes = 0;
  /** Of the message that has begun. */
  #size: number | undefined;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** True between two messages. */
  get isEmpty(): boolean {
    return this.#bytes === 0 && this.#size === undefined;
  }

  push(part: Buffer): void {
    if (part.length === 0) return;
    this.#parts.push(part);
    this.#bytes += part.length;
  }

  /** The next whole message. @throws CallFault when it is compressed, or longer than is taken: nothing of it is waited for. */
  next(): Uint8Array | undefined {
    if (this.#size === undefined) {
      if (this.#bytes < PREFIX) return undefined;
      this.#size = sizeIn(this.#take(PREFIX), this.#maxBytes);
    }
    if (this.#bytes < this.#size) return undefined;
    const message = this.#take(this.#size);
    this.#size = undefined;
    return message;
  }

  #take(size: number): Buffer {
    let [first = Buffer.alloc(0)] = this.#parts;
    if (first.length < size) {
      first = Buffer.concat(this.#parts);
      this.#parts = [first];
    }
    this.#bytes -= size;
    if (first.length === size) this.#parts.shift();
    else this.#parts[0] = first.subarray(size);
    return first.subarray(0, size);
  }
}

function sizeIn(prefix: Buffer, maxBytes: number): number {
  const size = prefix.readUInt32BE(1);
  // No encoding was agreed on, so nothing may be compressed.
  if (prefix[0] !== 0) throw new CallFault(Status.INTERNAL, 'a compressed message without a grpc-encoding');
  if (size > maxBytes) throw new CallFault(Status.RESOURCE_EXHAUSTED, `a message of ${size} bytes; ${maxBytes} are taken`);
  return size;
}

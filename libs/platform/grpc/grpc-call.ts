import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { DetailedPeerCertificate, TLSSocket } from 'node:tls';

import { MessageReader } from './message-reader.js';
import { CallFault, encodeMessage, Status, type StatusCode } from './status.js';

/** Who wants to know what becomes of a call. Called synchronously; none of these may throw. */
export interface CallListener<Request> {
  message(request: Request): void;
  /** The client says no more; it waits for the status. */
  halfClosed(): void;
  /** What was written has gone, after `needsDrain`. */
  drained?(): void;
  /** Once, when nothing more can come or go, whoever ended it. */
  closed(): void;
}

const RESPONSE: OutgoingHttpHeaders = Object.freeze({ ':status': 200, 'content-type': 'application/grpc' });
const RESPOND = Object.freeze({ waitForTrailers: true, sendDate: false });
const RESPOND_AND_END = Object.freeze({ endStream: true, sendDate: false });
/** What may wait to be written before `needsDrain` says so. */
const HIGH_WATER_BYTES = 64 * 1024;
/** Below this, one copy is cheaper than a write of several parts. */
const COPIED_BYTES = 2 * 1024;
/** A client that has had its status so long and goes on talking is told that nobody listens: RST_STREAM without an error (RFC 9113, 8.1). */
const LINGER_MS = 2_000;
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;
const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/**
 * One call of a method that streams both ways. Nothing is read before `listen`; nothing is queued but what the stream has taken and the client has not: who
 * writes looks at `needsDrain`.
 */
export class GrpcCall<Request> {
  readonly #stream: ServerHttp2Stream;
  readonly #decode: (bytes: Uint8Array) => Request;
  readonly #reader: MessageReader;
  #listener: CallListener<Request> | undefined;
  /** The client's deadline, or how long it may take to end the call after that. */
  #timer: NodeJS.Timeout | undefined;
  #status: OutgoingHttpHeaders | undefined;
  #isPaused = true;
  #hasHalfClosed = false;
  #isClosed = false;

  constructor(stream: ServerHttp2Stream, timeout: string | undefined, decode: (bytes: Uint8Array) => Request, maxMessageBytes: number) {
    this.#stream = stream;
    this.#decode = decode;
    this.#reader = new MessageReader(maxMessageBytes);
    stream.pause();
    stream.on('error', () => undefined); // 'close' follows
    stream.on('close', () => this.#closed());
    if (timeout !== undefined) this.#setDeadline(timeout);
  }

  /** True when the client or its connection went before it had a status. */
  get isCancelled(): boolean {
    return this.#status === undefined && (this.#isClosed || this.#stream.destroyed || this.#stream.aborted);
  }

  /** True when nothing can be written any more. */
  get isOver(): boolean {
    return this.#status !== undefined || this.#isClosed || this.#stream.destroyed || this.#stream.aborted;
  }

  get needsDrain(): boolean {
    return this.#stream.writableLength >= HIGH_WATER_BYTES;
  }

  /** Address and port of the client; `unix` for one on a Unix socket. */
  get peer(): string {
    const { remoteAddress, remotePort } = this.#stream.session?.socket ?? {};
    return remoteAddress === undefined ? 'unix' : `${remoteAddress}:${remotePort}`;
  }

  /** The verified certificate of the client; undefined without TLS. */
  get peerCertificate(): DetailedPeerCertificate | undefined {
    const socket = this.#stream.session?.socket as Partial<TLSSocket> | undefined;
    const certificate = socket?.getPeerCertificate?.(true);
    return certificate?.raw === undefined ? undefined : certificate;
  }

  /** Messages come from now on. */
  listen(listener: CallListener<Request>): void {
    this.#listener = listener;
    const { closed } = this.#stream;
    if (this.#isClosed || closed) return void setImmediate(() => listener.closed());
    this.#stream.on('data', (part: Buffer) => this.#receive(part));
    this.#stream.on('end', () => this.#halfClosed());
    if (listener.drained !== undefined) this.#stream.on('drain', () => listener.drained?.());
    this.resume();
  }

  /** No message comes before `resume`; the client is slowed down by that. */
  pause(): void {
    this.#isPaused = true;
    this.#stream.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#readOn();
    if (!this.#isPaused) this.#stream.resume();
  }

  /** Writes one message, which may come in parts: they are written as they are, and must not be changed afterwards. */
  write(...parts: readonly Uint8Array[]): void {
    if (this.isOver) return;
    if (!this.#stream.headersSent) this.#stream.respond(RESPONSE, RESPOND);
    const size = parts.reduce((sum, { length }) => sum + length, 0);
    const prefix = Buffer.allocUnsafe(5);
    prefix[0] = 0;
    prefix.writeUInt32BE(size, 1);
    if (size < COPIED_BYTES) {
      this.#stream.write(Buffer.concat([prefix, ...parts], 5 + size));
      return;
    }
    this.#stream.cork();
    this.#stream.write(prefix);
    for (const part of parts) this.#stream.write(part);
    this.#stream.uncork();
  }

  /** Ends the call when all that was written has gone. What the client says afterwards is lost. */
  end(code: StatusCode = Status.OK, message = ''): void {
    if (this.isOver) return;
    clearTimeout(this.#timer);
    this.#status = { 'grpc-status': code, ...(message === '' ? {} : { 'grpc-message': encodeMessage(message) }) };
    if (this.#stream.headersSent) {
      this.#stream.once('wantTrailers', () => this.#stream.sendTrailers(this.#status ?? {}));
      this.#stream.end();
    } else this.#stream.respond({ ...RESPONSE, ...this.#status }, RESPOND_AND_END);
    this.#stream.resume(); // so that it is seen when the client ends it too
    this.#timer = setTimeout(() => this.#stream.close(constants.NGHTTP2_NO_ERROR), LINGER_MS).unref();
  }

  #receive(part: Buffer): void {
    if (this.#status !== undefined) return;
    this.#reader.push(part);
    this.#readOn();
  }

  #readOn(): void {
    try {
      while (!this.#isPaused && this.#status === undefined) {
        const bytes = this.#reader.next();
        if (bytes === undefined) break;
        this.#listener?.message(this.#read(bytes));
      }
    } catch (error) {
      if (!(error instanceof CallFault)) throw error;
      this.end(error.code, error.message);
    }
    if (this.#hasHalfClosed && !this.#isPaused) this.#halfClosed();
  }

  #read(bytes: Uint8Array): Request {
    try {
      return this.#decode(bytes);
    } catch {
      throw new CallFault(Status.INTERNAL, 'the message cannot be read');
    }
  }

  #halfClosed(): void {
    this.#hasHalfClosed = true;
    if (this.#isPaused || this.#status !== undefined) return;
    this.#hasHalfClosed = false;
    if (this.#reader.isEmpty) this.#listener?.halfClosed();
    else this.end(Status.INTERNAL, 'the stream ended within a message');
  }

  #closed(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#listener?.closed();
  }

  #setDeadline(timeout: string): void {
    const [, amount, unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(timeout) ?? [];
    const ms = Math.min(Number(amount) * (UNIT_MS[unit] ?? 0), LONGEST_TIMEOUT_MS);
    if (amount === undefined) this.end(Status.INTERNAL, 'grpc-timeout cannot be read');
    else this.#timer = setTimeout(() => this.end(Status.DEADLINE_EXCEEDED, 'the deadline of the client has passed'), ms).unref();
  }
}

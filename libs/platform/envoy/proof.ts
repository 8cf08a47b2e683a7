import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { NotHttpError, readAnswer } from './http-answer.js';

export interface ProofOptions {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** The whole body that a right answer has, with status 200. */
  readonly marker: string;
  /** Right answers on new connections in a row: Envoy's workers take the new routes one by one, so one answer proves one worker. */
  readonly answers: number;
  /** Milliseconds for the whole proof. */
  readonly timeoutMs: number;
  /** Asked between two requests: true gives the proof up. */
  readonly abandoned?: () => boolean;
}

export type Proof =
  | { readonly proven: true; readonly requests: number; readonly durationMs: number }
  | { readonly proven: false; readonly requests: number; readonly durationMs: number; readonly seen: string };

/** A connection that is not answered in this time is given up and counts as wrong. */
const ANSWER_TIMEOUT_MS = 1000;
const MAX_ANSWER_BYTES = 64 * 1024;

/**
 * Asks the data plane itself whether it serves this release: the marker path, each time on a new connection, until `answers` in a row
 * are right. Raw sockets, because an HTTP client would retry or reuse connections and hide what a user would meet.
 */
export async function prove(options: ProofOptions): Promise<Proof> {
  const startedAt = performance.now();
  const request = requestBytes(options);
  let inARow = 0;
  let requests = 0;
  let seen = 'nothing was asked';
  while (performance.now() - startedAt < options.timeoutMs && options.abandoned?.() !== true) {
    const answer = await send(options, request);
    requests += 1;
    if (answer.status === 200 && answer.body === options.marker) {
      inARow += 1;
      if (inARow >= options.answers) return { proven: true, requests, durationMs: performance.now() - startedAt };
      continue;
    }
    inARow = 0;
    seen = answer.status === null ? answer.body : `status ${answer.status}: ${answer.body.slice(0, 200)}`;
    await pause(5);
  }
  return { proven: false, requests, durationMs: performance.now() - startedAt, seen };
}

/** What came back. `status` null: there was no whole answer, and `body` says why. */
export interface Answer {
  readonly status: number | null;
  readonly body: string;
}

/** A request as it goes over the wire: made once, however often it is sent. */
export function requestBytes({ host, port, path, headers }: Pick<ProofOptions, 'host' | 'port' | 'path' | 'headers'>): Buffer {
  const lines = Object.entries({ host: `${host}:${port}`, ...headers, connection: 'close' }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  return Buffer.from(`GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`);
}

/** One request on a connection of its own. */
export function ask(request: Pick<ProofOptions, 'host' | 'port' | 'path' | 'headers'>): Promise<Answer> {
  return send(request, requestBytes(request));
}

/** What a read puts its bytes into, of whichever connection: they are looked at, or copied, before the next one. */
const chunk = Buffer.allocUnsafe(MAX_ANSWER_BYTES);

/** One request on a connection of its own, from its bytes. */
export function send({ host, port }: Pick<ProofOptions, 'host' | 'port'>, request: Uint8Array): Promise<Answer> {
  return new Promise((resolve) => {
    let earlier: Buffer | undefined;
    let isOver = false;
    const finish = (status: number | null, body: string) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(deadline);
      socket.destroy();
      resolve({ status, body });
    };
    const look = (bytes: Buffer, closed: boolean) => {
      if (isOver) return;
      try {
        const answer = readAnswer(bytes, { closed });
        if (answer !== null) finish(answer.status, answer.body.toString('utf8'));
        else if (closed) finish(null, bytes.length === 0 ? 'closed without an answer' : 'closed in the middle of an answer');
        else if (bytes.length > MAX_ANSWER_BYTES) finish(null, `an answer of more than ${MAX_ANSWER_BYTES} bytes`);
        else earlier = Buffer.from(bytes);
      } catch (error) {
        if (!(error instanceof NotHttpError)) throw error;
        finish(null, `not an HTTP answer: ${error.message}`);
      }
    };
    // Not as a stream: each connection would have 64 KB of its own, and what streams are for is of no use to one answer.
    const callback = (length: number) => {
      const bytes = chunk.subarray(0, length);
      look(earlier === undefined ? bytes : Buffer.concat([earlier, bytes]), false);
      return true;
    };
    const socket = connect({ host, port, onread: { buffer: chunk, callback } });
    const deadline = setTimeout(() => finish(null, `no answer within ${ANSWER_TIMEOUT_MS} ms`), ANSWER_TIMEOUT_MS);
    socket.on('end', () => look(earlier ?? Buffer.alloc(0), true));
    socket.on('error', (error: NodeJS.ErrnoException) => finish(null, error.code ?? error.message));
    socket.write(request);
  });
}

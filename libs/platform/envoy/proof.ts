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
  let inARow = 0;
  let requests = 0;
  let seen = 'nothing was asked';
  while (performance.now() - startedAt < options.timeoutMs && options.abandoned?.() !== true) {
    const answer = await ask(options);
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

/** One request on a connection of its own. `status` null: there was no whole answer, and `body` says why. */
export function ask({
  host,
  port,
  path,
  headers,
}: Pick<ProofOptions, 'host' | 'port' | 'path' | 'headers'>): Promise<{ status: number | null; body: string }> {
  return new Promise((resolve) => {
    let bytes: Buffer = Buffer.alloc(0);
    const socket = connect({ host, port });
    const finish = (status: number | null, body: string) => {
      clearTimeout(deadline);
      socket.destroy();
      resolve({ status, body });
    };
    const deadline = setTimeout(() => finish(null, `no answer within ${ANSWER_TIMEOUT_MS} ms`), ANSWER_TIMEOUT_MS);
    socket.on('connect', () => {
      const lines = Object.entries({ host: `${host}:${port}`, ...headers, connection: 'close' }).map(
        ([name, value]) => `${name}: ${value}\r\n`,
      );
      socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`);
    });
    const look = (closed: boolean) => {
      try {
        const answer = readAnswer(bytes, { closed });
        if (answer !== null) finish(answer.status, answer.body.toString('utf8'));
        else if (closed) finish(null, bytes.length === 0 ? 'closed without an answer' : 'closed in the middle of an answer');
        else if (bytes.length > MAX_ANSWER_BYTES) finish(null, `an answer of more than ${MAX_ANSWER_BYTES} bytes`);
      } catch (error) {
        if (!(error instanceof NotHttpError)) throw error;
        finish(null, `not an HTTP answer: ${error.message}`);
      }
    };
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      look(false);
    });
    socket.on('end', () => look(true));
    socket.on('error', (error: NodeJS.ErrnoException) => finish(null, error.code ?? error.message));
  });
}

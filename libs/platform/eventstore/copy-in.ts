import { setImmediate as nextTurn } from 'node:timers/promises';

import type pg from 'pg';

const CHUNK_BYTES = 64 * 1024;

/** What pg hands to a query object of our own that it was asked to run (its protocol for such objects is untyped). */
interface Wire {
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  sendCopyFail(message: string): void;
  stream: NodeJS.WritableStream & { writableNeedDrain?: boolean };
}

/**
 * Runs `COPY ... FROM STDIN` with the rows given, in text format, with back pressure from the socket; others have their turn after every piece.
 * @returns when the server has taken them all.
 */
export function copyIn(client: pg.PoolClient, statement: string, rows: Iterable<readonly unknown[]>): Promise<void> {
  return new Promise((resolve, reject) => {
    let failed: unknown;
    const query = {
      /** Put here by pg when queries have a time limit: called, it forgets the limit, whose timer would otherwise hold up the end of the process. */
      callback: undefined as (() => void) | undefined,
      submit: (wire: Wire) => wire.query(statement),
      handleCopyInResponse(wire: Wire) {
        sendRows(wire, rows, () => failed !== undefined).catch((error) => {
          failed ??= error;
          wire.sendCopyFail(String(error));
        });
      },
      // pg forgets a query at its first error, and takes the next one only when the server is ready again: this is the last that we hear.
      handleError(error: unknown) {
        failed ??= error;
        query.callback?.();
        reject(failed);
      },
      handleCommandComplete: () => undefined,
      handleReadyForQuery() {
        query.callback?.();
        resolve();
      },
      handleRowDescription: () => undefined,
      handleDataRow: () => undefined,
      handleEmptyQuery: () => undefined,
      handlePortalSuspended: () => undefined,
    };
    client.query(query as unknown as pg.Submittable);
  });
}

async function sendRows(wire: Wire, rows: Iterable<readonly unknown[]>, stopped: () => boolean): Promise<void> {
  let chunk = '';
  for (const row of rows) {
    let line = field(row[0]);
    for (let i = 1; i < row.length; i++) line += `\t${field(row[i])}`;
    chunk += `${line}\n`;
    if (chunk.length < CHUNK_BYTES) continue;
    wire.sendCopyFromChunk(Buffer.from(chunk));
    chunk = '';
    if (wire.stream.writableNeedDrain) await drained(wire.stream);
    await nextTurn(); // a socket that takes everything at once would let nobody else in until the last row
    if (stopped()) return;
  }
  if (chunk) wire.sendCopyFromChunk(Buffer.from(chunk));
  wire.endCopyFrom();
}

function drained(stream: NodeJS.WritableStream): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      stream.off('drain', done).off('close', done);
      resolve();
    };
    stream.on('drain', done).on('close', done); // a closed socket never drains; the query is rejected by its own error
  });
}

const escapes: Record<string, string> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function field(value: unknown): string {
  if (value === null || value === undefined) return '\\N';
  if (typeof value === 'string') return /[\\\n\r\t]/.test(value) ? value.replace(/[\\\n\r\t]/g, (character) => escapes[character]!) : value;
  return typeof value === 'boolean' ? (value ? 't' : 'f') : String(value);
}

import { connect } from 'node:net';

import { untilSo } from '../machine/started-process.js';
import type { Contender } from './contender.js';

/** The head of one answer: its status, and its text in lower case. Status 0: there was no answer, and the head says which way. */
export interface Probe {
  readonly status: number;
  readonly head: string;
}

const PROBE_DEADLINE_MS = 5_000;

/**
 * Asks once on a new connection, and reads the head of the answer only: a proxy may hold the connection open for long after an answer of its own.
 */
export function probe(host: string, port: number, path: string): Promise<Probe> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect({ host, port, noDelay: true });
    const finish = (result: Probe) => {
      clearTimeout(deadline);
      socket.removeAllListeners();
      socket.on('error', () => undefined);
      socket.destroy();
      resolve(result);
    };
    const deadline = setTimeout(() => finish({ status: 0, head: 'timeout' }), PROBE_DEADLINE_MS);
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      if (end >= 0) finish({ status: Number(text.slice(9, 12)), head: text.slice(0, end + 2).toLowerCase() });
    });
    socket.on('end', () => finish({ status: 0, head: text === '' ? 'end before a byte' : 'end in the head' }));
    socket.on('error', (error: NodeJS.ErrnoException) => finish({ status: 0, head: error.code ?? error.message }));
    socket.write(`GET ${path} HTTP/1.1\r\nhost: bench.test\r\nconnection: close\r\n\r\n`);
  });
}

/** Waits until a route serves the revision. */
export async function untilServing(
  contender: Pick<Contender, 'host' | 'port' | 'answer'>,
  { route, path, revision = 'v0', deadlineMs = 600_000 }: { route: number; path: string; revision?: string; deadlineMs?: number },
): Promise<void> {
  const right = contender.answer(route, revision);
  const isRight = async () => {
    const { status, head } = await probe(contender.host, contender.port, path);
    return status === 200 && head.includes(right);
  };
  await untilSo(`route ${route} serves`, isRight, { deadlineMs, everyMs: 5 });
}

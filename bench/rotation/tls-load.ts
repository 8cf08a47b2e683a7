import { connect, type TLSSocket } from 'node:tls';
import { parentPort, workerData } from 'node:worker_threads';

/** What the thread is started with: where to ask, and how many clients of each kind ask without pause. */
export interface LoadWords {
  readonly port: number;
  readonly serverName: string;
  readonly path: string;
  readonly fresh: number;
  readonly kept: number;
}

/** What was seen when it ends: right answers, by kind of client, and everything else by what it was. */
export interface LoadResult {
  readonly fresh: number;
  readonly kept: number;
  readonly lost: Readonly<Record<string, number>>;
}

const ANSWER_MS = 5_000;
const { port, serverName, path, fresh, kept } = workerData as LoadWords;
const seen = { fresh: 0, kept: 0 };
const lost: Record<string, number> = {};
let isOver = false;

function open(): TLSSocket {
  return connect({ host: '127.0.0.1', port, servername: serverName, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] });
}

/** One request on a connection; the status line's code, or what came instead. */
function ask(socket: TLSSocket, isLast: boolean): Promise<{ status: string; closes: boolean }> {
  return new Promise((resolve) => {
    let text = '';
    const finish = (status: string, closes: boolean) => {
      clearTimeout(timer);
      socket.removeAllListeners('data').removeAllListeners('close').removeAllListeners('error');
      socket.on('error', () => undefined);
      resolve({ status, closes });
    };
    const timer = setTimeout(() => finish(`no answer within ${ANSWER_MS} ms`, true), ANSWER_MS);
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      const head = text.indexOf('\r\n\r\n');
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1] ?? Number.NaN);
      if (head >= 0 && text.length >= head + 4 + length)
        finish(text.slice(9, 12), /\r\nconnection: close\r\n/i.test(text.slice(0, head + 4)));
    });
    socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message, true));
    socket.on('close', () => finish('closed without an answer', true));
    socket.write(`POST ${path} HTTP/1.1\r\nHost: ${serverName}\r\nContent-Length: 0\r\n${isLast ? 'Connection: close\r\n' : ''}\r\n`);
  });
}

function count(kind: 'fresh' | 'kept', status: string): void {
  if (status === '200') seen[kind] += 1;
  else lost[`${kind}: ${status}`] = (lost[`${kind}: ${status}`] ?? 0) + 1;
}

async function freshClient(): Promise<void> {
  while (!isOver) {
    const socket = open();
    count('fresh', (await ask(socket, true)).status);
    socket.destroy();
  }
}

/** Keeps its connection until the gateway asks it to leave. */
async function keptClient(): Promise<void> {
  let socket: TLSSocket | undefined;
  while (!isOver) {
    socket ??= open();
    const { status, closes } = await ask(socket, false);
    count('kept', status);
    if (!closes) continue;
    socket.destroy();
    socket = undefined;
  }
  socket?.destroy();
}

const clients = [...Array.from({ length: fresh }, freshClient), ...Array.from({ length: kept }, keptClient)];
parentPort?.once('message', () => {
  isOver = true;
  void Promise.all(clients).then(() => parentPort?.postMessage({ ...seen, lost } satisfies LoadResult));
});

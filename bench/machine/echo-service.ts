import { createServer, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';

import { StartedProcess, untilSo } from './started-process.js';

/*
 * The service behind the routes, in a process of its own: it answers every request with its path in the header `x-echo`, and with its port
 * and the path in the body, from raw sockets, so that it costs next to nothing and closes no connection. Requests without a body only.
 */

const END_OF_HEAD = '\r\n\r\n';

function serve(socket: Socket): void {
  let text = '';
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    let answers = '';
    for (let end = text.indexOf(END_OF_HEAD); end >= 0; end = text.indexOf(END_OF_HEAD)) {
      const path = text.slice(text.indexOf(' ') + 1, text.indexOf(' HTTP/'));
      const body = `${socket.localPort} ${path}`;
      answers += `HTTP/1.1 200 OK\r\nx-echo: ${path}\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
      text = text.slice(end + END_OF_HEAD.length);
    }
    if (answers !== '') socket.write(answers);
  });
}

export interface EchoService {
  readonly ports: readonly number[];
  stop(): Promise<void>;
}

/** Starts the service on so many free ports of every given address (all ports the same on each). */
export async function startEchoService(folder: string, { ports = 1, hosts = ['127.0.0.1'] } = {}): Promise<EchoService> {
  const echo = new StartedProcess({
    command: process.execPath,
    words: [...process.execArgv, fileURLToPath(import.meta.url), String(ports), ...hosts],
    ...{ folder, name: 'echo', talk: true },
  });
  let said = '';
  echo.child.stdout?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  await untilSo('the echo service listens', () => said.includes('\n'), { of: echo });
  return { ports: JSON.parse(said) as number[], stop: () => echo.stop() };
}

async function listen(count: number, hosts: readonly string[]): Promise<void> {
  const ports: number[] = [];
  for (let n = 0; n < count; n++) {
    let port = 0;
    for (const host of hosts) {
      const server = createServer(serve);
      await new Promise<void>((resolve) => server.listen({ port, host, backlog: 1024 }, resolve));
      port = (server.address() as { port: number }).port;
    }
    ports.push(port);
  }
  process.stdout.write(`${JSON.stringify(ports)}\n`);
  process.stdin.resume().on('end', () => process.exit()); // whoever started it has gone
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await listen(Number(process.argv[2]), process.argv.slice(3));

import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';

import { afterEach, describe, expect, it } from '@jest/globals';

import { ask, prove } from './proof.js';

let server: Server | undefined;
afterEach(() => {
  server?.close();
});

/** Answers each connection as it is told, when its request is whole. */
async function serve(answer: (socket: Socket, request: string) => void): Promise<number> {
  server = createServer((socket) => {
    let request = '';
    socket.on('error', () => undefined); // the client has gone
    socket.on('data', (chunk: Buffer) => {
      request += chunk.toString();
      if (request.endsWith('\r\n\r\n')) answer(socket, request);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

const to = (port: number) => ({ host: '127.0.0.1', port, path: '/marker', headers: { 'x-proof': 'secret' } });
const right = 'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody';

describe('a question on a connection of its own', () => {
  it('has the path, the headers, and the wish that the connection ends with it', async () => {
    const seen: string[] = [];
    const port = await serve((socket, request) => {
      seen.push(request);
      socket.end(right);
    });
    expect(await ask(to(port))).toEqual({ status: 200, body: 'body' });
    expect(seen).toEqual([`GET /marker HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nx-proof: secret\r\nconnection: close\r\n\r\n`]);
  });

  it('is answered also when the answer comes byte by byte, beside others that share the place where bytes are put', async () => {
    const port = await serve((socket) => {
      const bytes = [...right];
      const next = () => {
        const byte = bytes.shift();
        if (byte === undefined) socket.end();
        else socket.write(byte, () => setImmediate(next));
      };
      socket.setNoDelay(true);
      next();
    });
    const answers = await Promise.all(Array.from({ length: 8 }, () => ask(to(port))));
    expect(answers).toEqual(Array.from({ length: 8 }, () => ({ status: 200, body: 'body' })));
  });

  it('says what came instead of an answer', async () => {
    const said = ['', 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbody', 'SSH-2.0-OpenSSH_9.6\r\n'];
    const port = await serve((socket) => socket.end(said.shift() ?? ''));
    expect(await ask(to(port))).toEqual({ status: null, body: 'closed without an answer' });
    expect(await ask(to(port))).toEqual({ status: null, body: 'closed in the middle of an answer' });
    expect((await ask(to(port))).body).toMatch('not an HTTP answer: SSH-2.0');
    server?.close();
    expect(await ask(to(port))).toEqual({ status: null, body: 'ECONNREFUSED' });
  });

  it('proves nothing until there are as many right answers in a row as are wanted', async () => {
    let count = 0;
    const port = await serve((socket) => {
      count += 1;
      socket.end(count === 3 ? right.replace('body', 'olds') : right);
    });
    const proof = await prove({ ...to(port), marker: 'body', answers: 5, timeoutMs: 10_000 });
    expect(proof).toMatchObject({ proven: true, requests: 8 });
  });
});

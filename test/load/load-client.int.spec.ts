import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createSecureServer } from 'node:tls';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { createAuthority } from '#platform/envoy/certificates.fixture.js';
import { waitUntil } from '#platform/envoy/wait-until.js';
import { type LoadOptions, lostCount, type Outcome, startLoad } from './load-client.js';

jest.setTimeout(30_000);

let server: Server | undefined;
const sockets = new Set<Socket>();
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  server?.close();
});

async function serve(onRequest: (socket: Socket, count: number) => void, tls?: { cert: string; key: string }): Promise<number> {
  let count = 0;
  const take = (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', () => {
      count += 1;
      onRequest(socket, count);
    });
  };
  server = tls === undefined ? createServer(take) : createSecureServer(tls, take);
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

async function loadOf(
  port: number,
  lanes: ('new' | 'busy')[],
  { requests = 20, ...options }: Partial<LoadOptions> & { requests?: number } = {},
) {
  const load = startLoad({
    ...{ host: '127.0.0.1', port, path: '/', rate: 200, lanes, ...options },
    expect: (status, body) => (status !== 200 ? 'wrong status' : body === 'hi' ? 'ok' : 'wrong body'),
  });
  const answered = () => Object.values(load.counts()).reduce((sum, count) => sum + count, 0);
  await waitUntil(() => (answered() >= requests ? true : null), { timeoutMs: 15_000, everyMs: 5 });
  return load.stop();
}

const answer = (status: string, body: string) => `HTTP/1.1 ${status}\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

describe('the load client', () => {
  it('keeps the rate and finds all right with a server that is', async () => {
    const connections = new Set<Socket>();
    const port = await serve((socket) => {
      connections.add(socket);
      socket.write(answer('200 OK', 'hi'));
    });
    const result = await loadOf(port, ['busy'], { requests: 100 });
    expect(lostCount(result)).toBe(0);
    expect(result.outcomes.ok).toBe(result.sent);
    expect(result.latencies).toHaveLength(result.sent);
    // Busy connections are used again.
    expect(connections.size).toBeLessThan(result.sent / 2);
  });

  it.each<[Outcome, (socket: Socket) => void]>([
    ['reset', (socket) => socket.resetAndDestroy()],
    ['end before a byte', (socket) => socket.end()],
    ['end in the body', (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi')],
    ['timeout', () => {}],
    ['wrong status', (socket) => socket.write(answer('503 No', 'hi'))],
    ['wrong body', (socket) => socket.write(answer('200 OK', 'no'))],
    ['other', (socket) => socket.write('SSH-2.0\r\n')],
  ])('puts %s in its class, on new and on kept connections', async (outcome, misbehave) => {
    // Every third request goes wrong, so that kept connections meet it too.
    const port = await serve((socket, count) => (count % 3 === 0 ? misbehave(socket) : void socket.write(answer('200 OK', 'hi'))));
    const result = await loadOf(port, ['new', 'busy'], { timeoutMs: 200 });
    expect(result.outcomes[outcome]).toBeGreaterThan(0);
    expect(lostCount(result)).toBe(result.outcomes[outcome]);
    expect(result.outcomes.ok + result.outcomes[outcome]).toBe(result.sent);
  });

  it('asks with TLS, and takes no certificate of another name or authority', async () => {
    const authority = await createAuthority();
    const { chain, key } = await authority.issue(['load.test']);
    const connections = new Set<Socket>();
    const onRequest = (socket: Socket) => {
      connections.add(socket);
      socket.write(answer('200 OK', 'hi'));
    };
    const port = await serve(onRequest, { cert: chain, key });
    const ask = (serverName: string, trusted: string) => loadOf(port, ['new', 'busy'], { tls: { serverName, authority: trusted } });
    const right = await ask('load.test', authority.chain);
    expect(right.outcomes.ok).toBe(right.sent);
    expect(connections.size).toBeLessThan(right.sent);
    const wrongName = await ask('another.test', authority.chain);
    expect(wrongName.outcomes.other).toBe(wrongName.sent);
    const stranger = await ask('load.test', (await createAuthority()).chain);
    expect(stranger.outcomes.other).toBe(stranger.sent);
  });

  it('puts a port that nobody listens on in refused', async () => {
    const port = await serve(() => {});
    await new Promise((resolve) => server?.close(resolve));
    server = undefined;
    const result = await loadOf(port, ['new']);
    expect(result.outcomes.refused).toBe(result.sent);
  });
});

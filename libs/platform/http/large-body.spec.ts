import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';

import { afterEach, describe, expect, it } from '@jest/globals';
import fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';

import { HttpProblem } from './http-problem.js';
import { BodyReader } from './large-body.js';

/** The reader in a real server: a route for large bodies and one for others, which answer what they got. */
async function serve(options: ConstructorParameters<typeof BodyReader>[1] = {}, admit = async () => true) {
  const app = fastify({ forceCloseConnections: true });
  const bodies = new BodyReader(admit, options);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (request: FastifyRequest, payload: IncomingMessage) => bodies.read(request, payload));
  app.addHook('onRequest', async (request, reply) => bodies.watch(request, reply.raw));
  app.setErrorHandler((error, _request, reply) => reply.status(error instanceof HttpProblem ? error.status : 500).send(String(error)));
  const answer = ({ body }: { body: unknown }) => {
    if (body instanceof HttpProblem) throw body;
    return { bytes: (body as Buffer).length };
  };
  app.post('/large', { config: { largeBody: true } }, answer);
  app.post('/small', answer);
  await app.listen({ port: 0, host: '127.0.0.1' });
  return app;
}

describe('bodies', () => {
  let app: FastifyInstance;
  afterEach(() => app.close());

  const portOf = () => (app.server.address() as AddressInfo).port;
  const post = async (path: string, body: string, type = 'application/json') => {
    const answer = await fetch(`http://127.0.0.1:${portOf()}${path}`, { method: 'POST', body, headers: { 'content-type': type } });
    return [answer.status, await answer.text()];
  };
  /** Begins a body in chunks and does not end it. */
  const begin = async (chunk: string): Promise<Socket> => {
    const socket = connect(portOf(), '127.0.0.1');
    await once(socket, 'connect');
    socket.write('POST /large HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n');
    await new Promise((resolve) => socket.write(`${chunk.length.toString(16)}\r\n${chunk}\r\n`, resolve));
    return socket;
  };

  it('are bounded by route and by media type', async () => {
    app = await serve();
    const [little, much] = ['x'.repeat(200_000), 'x'.repeat(1_100_000)];
    expect(await post('/small', little)).toEqual([200, '{"bytes":200000}']);
    expect((await post('/small', much))[0]).toBe(413);
    expect(await post('/large', much)).toEqual([200, '{"bytes":1100000}']);
    expect((await post('/large', much, 'application/yaml'))[0]).toBe(413);
    expect((await post('/large', much, 'text/plain'))[0]).toBe(413);
  });

  it('of callers who are not let in are bounded as everywhere', async () => {
    app = await serve({}, async () => false);
    expect((await post('/large', 'x'.repeat(300_000)))[0]).toBe(413);
    expect(await post('/large', 'x'.repeat(200_000))).toEqual([200, '{"bytes":200000}']);
  });

  it('of a crowd do not take the memory; it is given back when a client leaves', async () => {
    app = await serve({ held: 1_000_000 });
    const sockets = [await begin('x'.repeat(400_000)), await begin('x'.repeat(400_000))];
    let refused: unknown;
    for (let i = 0; i < 100 && refused !== 503; i++) [refused] = await post('/large', 'x'.repeat(500_000)); // until those two have arrived
    expect(refused).toBe(503);
    for (const socket of sockets) socket.destroy();
    let taken: unknown;
    for (let i = 0; i < 1_000 && taken !== 200; i++) [taken] = await post('/large', 'x'.repeat(500_000)); // until their end has been seen
    expect(taken).toBe(200);
  });

  it('that break off hurt nobody', async () => {
    app = await serve();
    const socket = await begin('x'.repeat(300_000));
    socket.destroy();
    await once(socket, 'close');
    expect((await post('/large', 'x'.repeat(300_000)))[0]).toBe(200);
  });
});

import { connect as connectSocket } from 'node:net';

import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { dial, dispose, frame, raw, serve } from './grpc-client.fixture.js';
import { Status } from './status.js';

jest.setTimeout(20_000);
afterEach(dispose);

describe('what is not gRPC as it is spoken here', () => {
  test.each([
    ['another content type', { 'content-type': 'application/json' }, { ':status': 415 }],
    ['a name that only begins like it', { 'content-type': 'application/grpc-web' }, { ':status': 415 }],
    ['another verb', { ':method': 'GET' }, { ':status': 405 }],
    ['a compression', { 'grpc-encoding': 'gzip' }, { 'grpc-status': '12', 'grpc-accept-encoding': 'identity' }],
    ['a deadline that is none', { 'grpc-timeout': '5 days' }, { 'grpc-status': '13' }],
  ])('%s is refused', async (_, headers: Record<string, string>, answer) => {
    const { closed, stream } = raw((await serve()).port, headers);
    stream.end();
    expect(await closed).toMatchObject(answer);
  });

  test.each([
    ['a compressed message', [frame('hello', { flag: 1 })], Status.INTERNAL],
    ['an unknown flag', [frame('hello', { flag: 0x80 })], Status.INTERNAL],
    ['a length beyond what is taken', [frame('', { length: 0xffffffff })], Status.RESOURCE_EXHAUSTED],
    ['an end within a message', [frame('hello', { length: 6 })], Status.INTERNAL],
    ['an end within a prefix', [Buffer.from([0, 0])], Status.INTERNAL],
  ])('%s ends the call', async (_, parts, code) => {
    const { stream, closed } = raw((await serve()).port);
    for (const part of parts) stream.write(part);
    stream.end();
    expect(await closed).toMatchObject({ 'grpc-status': String(code) });
  });

  test('a message that comes byte by byte is one message', async () => {
    const { stream, closed } = raw((await serve()).port);
    const answered: Buffer[] = [];
    stream.on('data', (part: Buffer) => answered.push(part));
    for (const byte of Buffer.concat([frame('hello'), frame(''), frame('world')])) stream.write(Buffer.from([byte]));
    stream.end();
    await closed;
    expect(Buffer.concat(answered)).toEqual(Buffer.concat([frame('hello'), frame(''), frame('world')]));
  });

  test('bytes that are not HTTP/2 hurt nobody', async () => {
    const { port } = await serve();
    const socket = connectSocket(port, '127.0.0.1');
    socket.on('error', () => undefined);
    const gone = new Promise((resolve) => socket.on('close', resolve));
    socket.write('GET / HTTP/1.1\r\n\r\n');
    socket.resume();
    await gone;
    const { call, heard, ended } = dial(port);
    call.end('hello');
    await ended;
    expect(heard).toEqual(['hello']);
  });
});

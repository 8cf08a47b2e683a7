import { constants } from 'node:http2';
import { type AddressInfo, connect as connectSocket, createServer } from 'node:net';

import { status } from '@grpc/grpc-js';
import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { messagesOf } from './call-messages.js';
import type { GrpcCall } from './grpc-call.js';
import { dial, disposals, dispose, echo, frame, raw, serve } from './grpc-client.fixture.js';
import { GrpcServer } from './grpc-server.js';
import { Status } from './status.js';

jest.setTimeout(20_000);
afterEach(dispose);

describe('a call of the gRPC library', () => {
  test('is answered message by message, in order, whatever their size, and ends with OK', async () => {
    const { call, heard, ended } = dial((await serve()).port);
    const said = ['a', 'ü', 'b'.repeat(300_000), 'c', 'd'.repeat(3_000), ...Array.from({ length: 500 }, (_, i) => `message ${i}`)];
    for (const one of said) call.write(one);
    call.end();
    expect(await ended).toEqual({ code: status.OK, details: '' });
    expect(heard).toEqual(said);
  });

  test.each([
    ['after messages', ['hello', 'end 9 100 % sure:\nnot "that" — ünlikely ☃'], ['hello']],
    ['before any', ['end 9 100 % sure:\nnot "that" — ünlikely ☃'], []],
  ])('has the status and its words, %s', async (_, said, answered) => {
    const { call, heard, ended } = dial((await serve()).port);
    for (const one of said) call.write(one);
    expect(await ended).toEqual({ code: status.FAILED_PRECONDITION, details: '100 % sure:\nnot "that" — ünlikely ☃' });
    expect(heard).toEqual(answered);
  });

  test('of another method is told that there is none', async () => {
    const { ended } = dial((await serve()).port, { path: '/spec.Echo/Sing' });
    expect(await ended).toMatchObject({ code: status.UNIMPLEMENTED });
  });

  test('that says something longer than is taken is ended before it has all come', async () => {
    const { call, ended } = dial((await serve()).port);
    call.write('x'.repeat(1_000_001));
    expect(await ended).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  });

  test('that cannot be read is ended, and the next one is served', async () => {
    const server = await serve();
    const { stream, closed } = raw(server.port);
    stream.write(frame(Buffer.from([0xff])));
    expect(await closed).toMatchObject({ 'grpc-status': String(Status.INTERNAL) });
    const { call, heard, ended } = dial(server.port);
    call.end('hello');
    await ended;
    expect(heard).toEqual(['hello']);
  });

  test('has its deadline kept', async () => {
    const { ended } = dial((await serve()).port, { deadline: Date.now() + 200 });
    expect(await ended).toMatchObject({ code: status.DEADLINE_EXCEEDED });
  });

  test('that is given up is over for the server too', async () => {
    const closed = new Promise<boolean>((resolve) => {
      void serve((call) =>
        call.listen({
          message: () => call.write(Buffer.from('x')),
          halfClosed: () => undefined,
          closed: () => resolve(call.isCancelled && call.isOver),
        }),
      ).then(({ port }) => {
        const { call } = dial(port);
        call.on('data', () => call.cancel());
        call.write('hello');
      });
    });
    expect(await closed).toBe(true);
  });
});

describe('backpressure', () => {
  test('who does not read is written no more than the stream takes, and who reads again hears of it', async () => {
    let written = 0;
    const whole = Buffer.alloc(32 * 1024);
    const server = await serve((call) => {
      const fill = () => {
        for (; !call.needsDrain && written < 1_000; written++) call.write(whole);
        if (written === 1_000) call.end();
      };
      call.listen({ message: fill, drained: fill, halfClosed: () => undefined, closed: () => undefined });
    });
    const { stream, closed } = raw(server.port);
    stream.pause();
    stream.write(frame('go'));
    await new Promise((resolve) => stream.once('response', resolve));
    const { call, ended } = dial(server.port, { path: '/spec.Echo/Sing' }); // a round trip of another client
    call.write('x');
    await ended;
    expect(written).toBeLessThan(20);
    let bytes = 0;
    stream.on('data', (part: Buffer) => {
      bytes += part.length;
    });
    stream.resume();
    expect(await closed).toMatchObject({ 'grpc-status': '0' });
    expect(bytes).toBe(1_000 * (5 + whole.length));
  });

  test('what is not asked for is not read: the client is slowed down, and nothing is lost', async () => {
    const heard: string[] = [];
    let letGo: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const server = await serve(async (call) => {
      for await (const message of messagesOf(call)) {
        heard.push(message.slice(0, 1));
        await held;
      }
      call.end();
    });
    const { call, ended } = dial(server.port);
    for (let i = 0; i < 100; i++) call.write(`${i % 10}${'x'.repeat(10_000)}`);
    call.end();
    const other = dial(server.port, { path: '/spec.Echo/Sing' });
    await other.ended;
    expect(heard.length).toBeLessThanOrEqual(1);
    letGo();
    expect(await ended).toMatchObject({ code: status.OK });
    expect(heard.join('')).toBe('0123456789'.repeat(10));
  });
});

describe('connections', () => {
  test('one that answers no ping is given up', async () => {
    let over: (call: GrpcCall<string>) => void = () => undefined;
    const closed = new Promise<GrpcCall<string>>((resolve) => {
      over = resolve;
    });
    let heard: () => void = () => undefined;
    const { port } = await serve((call) => call.listen({ message: () => heard(), halfClosed: () => undefined, closed: () => over(call) }), {
      keepaliveMs: 100,
    });
    // Between them, something that passes nothing on any more, and lets nobody know.
    const proxy = createServer((socket) => {
      const onward = connectSocket(port, '127.0.0.1');
      for (const each of [socket, onward]) each.on('error', () => undefined);
      socket.pipe(onward).pipe(socket);
      heard = () => {
        socket.unpipe(onward);
        onward.unpipe(socket);
      };
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    disposals.push(() => proxy.close());
    raw((proxy.address() as AddressInfo).port).stream.write(frame('hello'));
    expect((await closed).isCancelled).toBe(true);
  });

  test('one that answers them lives', async () => {
    const { port } = await serve(echo, { keepaliveMs: 20 });
    const { call, heard, ended } = dial(port);
    call.write('one');
    await new Promise((resolve) => call.once('data', resolve));
    const other = dial(port, { deadline: Date.now() + 300 });
    await other.ended; // fifteen periods
    call.end('two');
    expect(await ended).toMatchObject({ code: status.OK });
    expect(heard).toEqual(['one', 'two']);
  });

  test('a server that stops says GOAWAY, lets calls end, and cuts what does not', async () => {
    const calls: GrpcCall<string>[] = [];
    const server = await serve((call) => {
      calls.push(call);
      echo(call, {});
    });
    const [quick, stubborn] = [raw(server.port), raw(server.port)];
    const goaway = new Promise<number>((resolve) => quick.session.once('goaway', resolve));
    for (const { stream } of [quick, stubborn]) {
      stream.write(frame('hello'));
      await new Promise((resolve) => stream.once('data', resolve));
    }
    const closing = server.close(300);
    expect(await goaway).toBe(constants.NGHTTP2_NO_ERROR);
    quick.stream.end();
    expect(await quick.closed).toMatchObject({ 'grpc-status': '0' });
    await closing;
    await stubborn.closed;
    expect(calls.map((call) => call.isOver)).toEqual([true, true]);
  });

  test('a port that is taken is an error', async () => {
    const { port } = await serve();
    const options = { methods: {}, maxMessageBytes: 1 };
    await expect(GrpcServer.listen({ host: '127.0.0.1', port }, options)).rejects.toThrow('EADDRINUSE');
  });
});

import { type ClientHttp2Session, type ClientHttp2Stream, connect, type IncomingHttpHeaders } from 'node:http2';

import { type ClientDuplexStream, credentials, makeGenericClientConstructor, type ServiceError, status } from '@grpc/grpc-js';

import type { GrpcCall } from './grpc-call.js';
import { GrpcServer, type GrpcServerOptions, streaming } from './grpc-server.js';
import type { StatusCode } from './status.js';

export const PATH = '/spec.Echo/Talk';
export const disposals: (() => unknown)[] = [];

/** To be called after each test. */
export async function dispose(): Promise<void> {
  for (const each of disposals.splice(0).reverse()) await each();
}

const text = (bytes: Uint8Array) => {
  if (bytes[0] === 0xff) throw new Error('not text');
  return Buffer.from(bytes).toString();
};
type Serve = (call: GrpcCall<string>, headers: IncomingHttpHeaders) => void;

/** Answers each message with itself, in two parts; `end CODE MESSAGE` ends the call. */
export const echo: Serve = (call) =>
  call.listen({
    message(said) {
      const [, code, message] = /^end (\d+) (.*)$/s.exec(said) ?? [];
      if (code !== undefined) call.end(Number(code) as StatusCode, message);
      else call.write(Buffer.from(said.slice(0, 1)), Buffer.from(said.slice(1)));
    },
    halfClosed: () => call.end(),
    closed: () => undefined,
  });

/** A server of one method. */
export async function serve(method: Serve = echo, more: Partial<GrpcServerOptions> = {}): Promise<GrpcServer> {
  const options = { methods: { [PATH]: streaming(text, method) }, maxMessageBytes: 1_000_000, ...more };
  const server = await GrpcServer.listen({ host: '127.0.0.1', port: 0 }, options);
  disposals.push(() => server.destroy());
  return server;
}

/** The gRPC library as the client: what agents are. */
export function dial(port: number, { path = PATH, deadline }: { path?: string; deadline?: number } = {}) {
  const serialize = (value: string) => Buffer.from(value);
  const method = {
    path,
    requestStream: true,
    responseStream: true,
    ...{ requestSerialize: serialize, responseSerialize: serialize, requestDeserialize: String, responseDeserialize: String },
  };
  const Client = makeGenericClientConstructor({ talk: method }, 'Echo');
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_retries': 0,
  });
  disposals.push(() => client.close());
  const call = (client as unknown as { talk(options: object): ClientDuplexStream<string, string> }).talk(
    deadline === undefined ? {} : { deadline },
  );
  const heard: string[] = [];
  call.on('data', (message: string) => heard.push(message));
  const ended = new Promise<{ code: number; details: string }>((resolve) => {
    call.on('error', ({ code, details }: ServiceError) => resolve({ code, details }));
    call.on('end', () => resolve({ code: status.OK, details: '' }));
  });
  return { call, heard, ended };
}

/** HTTP/2 by hand: what no library sends. */
export function raw(port: number, headers: Record<string, string> = {}) {
  const session: ClientHttp2Session = connect(`http://127.0.0.1:${port}`);
  session.on('error', () => undefined);
  disposals.push(() => session.destroy());
  const standard = { ':method': 'POST', ':path': PATH, 'content-type': 'application/grpc', te: 'trailers' };
  const stream: ClientHttp2Stream = session.request({ ...standard, ...headers });
  stream.on('error', () => undefined);
  let answer: IncomingHttpHeaders = {};
  stream.on('response', (got) => {
    answer = { ...answer, ...got };
  });
  stream.on('trailers', (got: IncomingHttpHeaders) => {
    answer = { ...answer, ...got };
  });
  stream.resume();
  const closed = new Promise<IncomingHttpHeaders>((resolve) => stream.on('close', () => resolve(answer)));
  return { session, stream, closed };
}

/** A message as it stands on the wire. */
export function frame(message: string | Buffer, { flag = 0, length }: { flag?: number; length?: number } = {}): Buffer {
  const body = Buffer.from(message);
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(length ?? body.length, 1);
  return Buffer.concat([prefix, body]);
}

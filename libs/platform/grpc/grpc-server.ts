import {
  createSecureServer,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo, ListenOptions } from 'node:net';
import type { SecureContextOptions } from 'node:tls';

import { GrpcCall } from './grpc-call.js';
import { encodeMessage, Status } from './status.js';

/** What answers the calls of one method. */
export type GrpcMethod = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, maxMessageBytes: number) => void;

/** A method whose messages are read with `decode`; `serve` must call `listen`, at once or later. */
export function streaming<Request>(
  decode: (bytes: Uint8Array) => Request,
  serve: (call: GrpcCall<Request>, headers: IncomingHttpHeaders) => void,
): GrpcMethod {
  return (stream, headers, maxMessageBytes) => {
    const timeout = headers['grpc-timeout'];
    serve(new GrpcCall(stream, timeout === undefined ? undefined : String(timeout), decode, maxMessageBytes), headers);
  };
}

/** PEM. Both sides show a certificate; `ca` is who must have signed the client's. */
export type MutualTls = Required<Pick<SecureContextOptions, 'cert' | 'key' | 'ca'>>;

export interface GrpcServerOptions {
  /** By path: `/package.Service/Method`. */
  readonly methods: Readonly<Record<string, GrpcMethod>>;
  /** Longer messages of a client end its call. */
  readonly maxMessageBytes: number;
  /** A connection that does not answer a ping is given up after twice this time. Milliseconds, 10,000 by default. */
  readonly keepaliveMs?: number;
  /** Without it, in the clear. */
  readonly tls?: MutualTls;
}

const STREAMS_OF_A_CONNECTION = 100;
/** Pings are spread over their period: a thousand at once would hold up the event loop. */
const TURNS = 20;

/**
 * A gRPC server on Node's HTTP/2: methods that stream both ways, no compression. Why there is one of our own is in docs/decisions/018; what it does not do
 * is answered with the status that says so.
 */
export class GrpcServer {
  readonly #options: GrpcServerOptions;
  readonly #server: Http2Server;
  /** By connection: in which turn it is pinged, and whether it owes an answer. */
  readonly #sessions = new Map<ServerHttp2Session, { readonly turn: number; owes: boolean }>();
  readonly #pings: NodeJS.Timeout;
  #turn = 0;

  /** @throws Error when it cannot listen there. */
  static async listen(where: ListenOptions, options: GrpcServerOptions): Promise<GrpcServer> {
    const server = new GrpcServer(options);
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', reject);
      server.#server.listen(where, () => {
        server.#server.off('error', reject);
        resolve();
      });
    }).catch((error: unknown) => {
      clearInterval(server.#pings);
      throw error;
    });
    return server;
  }

  private constructor(options: GrpcServerOptions) {
    this.#options = options;
    const settings = { settings: { maxConcurrentStreams: STREAMS_OF_A_CONNECTION, headerTableSize: 0 }, maxDeflateDynamicTableSize: 0 };
    this.#server =
      options.tls === undefined
        ? createServer(settings)
        : createSecureServer({ ...settings, ...options.tls, requestCert: true, rejectUnauthorized: true, allowHTTP1: false });
    this.#server.on('error', () => undefined); // a connection that could not be taken: its client dials again
    this.#server.on('session', (session) => this.#took(session));
    this.#server.on('stream', (stream, headers) => this.#dispatch(stream, headers));
    this.#pings = setInterval(() => this.#ping(), (options.keepaliveMs ?? 10_000) / TURNS);
    this.#pings.unref();
  }

  /** 0 on a Unix socket. */
  get port(): number {
    return (this.#server.address() as AddressInfo | null)?.port ?? 0;
  }

  /** Takes no further calls, waits for those that are under way, and cuts what is left after the grace. */
  async close(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const session of this.#sessions.keys()) session.close();
    const timer = setTimeout(() => this.#cut(), graceMs);
    await closed;
    clearTimeout(timer);
    clearInterval(this.#pings);
  }

  /** Cuts all connections and stops listening, as a process that is killed does. */
  destroy(): void {
    clearInterval(this.#pings);
    this.#server.close();
    this.#cut();
  }

  #cut(): void {
    for (const session of this.#sessions.keys()) session.destroy();
  }

  #took(session: ServerHttp2Session): void {
    this.#sessions.set(session, { turn: this.#sessions.size % TURNS, owes: false });
    session.once('close', () => this.#sessions.delete(session));
  }

  #ping(): void {
    this.#turn = (this.#turn + 1) % TURNS;
    for (const [session, state] of this.#sessions) {
      if (state.turn !== this.#turn || session.destroyed) continue;
      if (state.owes) session.destroy();
      else {
        state.owes = true;
        session.ping(() => {
          state.owes = false;
        });
      }
    }
  }

  #dispatch(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const { methods, maxMessageBytes } = this.#options;
    const method = Object.hasOwn(methods, headers[':path'] ?? '') ? methods[headers[':path'] ?? ''] : undefined;
    const refusal = refusalOf(headers, method);
    if (method !== undefined && refusal === undefined) {
      method(stream, headers, maxMessageBytes);
      return;
    }
    stream.on('error', () => undefined); // it has gone
    stream.respond({ ...refusal }, { endStream: true });
    stream.resume();
  }
}

/** How a request is answered that is none of a method that there is. */
function refusalOf(headers: IncomingHttpHeaders, method: GrpcMethod | undefined): Readonly<Record<string, string | number>> | undefined {
  const encoding = headers['grpc-encoding'] ?? 'identity';
  if (headers[':method'] !== 'POST') return { ':status': 405 };
  if (!/^application\/grpc(\+proto)?($|;)/.test(headers['content-type'] ?? '')) return { ':status': 415 };
  if (method === undefined) return unimplemented(`there is no ${headers[':path']}`);
  if (encoding !== 'identity') return { ...unimplemented(`no ${encoding}`), 'grpc-accept-encoding': 'identity' };
  return undefined;
}

function unimplemented(message: string) {
  const status = { 'grpc-status': Status.UNIMPLEMENTED, 'grpc-message': encodeMessage(message) };
  return { ':status': 200, 'content-type': 'application/grpc', ...status };
}

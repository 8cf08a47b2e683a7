import { createHash } from 'node:crypto';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import type { TestCertificate } from '#platform/envoy/certificates.fixture.js';
import { readAnswer } from '#platform/envoy/http-answer.js';

/** What a TLS client saw: the server's certificate, and the answer if it asked and got one. */
export interface TlsAnswer {
  /** SHA-256 of the server's certificate; '' without a handshake. */
  readonly fingerprint: string;
  readonly protocol: string;
  readonly alpn: string;
  readonly reused: boolean;
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
  readonly error: string;
}

export interface TlsAsk {
  readonly port: number;
  /** The name that is asked for in the handshake; none when left out. */
  readonly sni?: string;
  readonly host?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly client?: TestCertificate;
  readonly options?: ConnectionOptions;
  /** Gets the session, to be resumed by another connection. */
  onSession?(session: Buffer): void;
}

/** One request over TLS on a connection of its own, HTTP/1.1, nothing verified and nothing tried again. */
export function askTls({
  port,
  sni,
  host = sni ?? 'none',
  path = '/',
  headers = {},
  client,
  options,
  onSession,
}: TlsAsk): Promise<TlsAnswer> {
  return new Promise((resolve) => {
    const socket: TLSSocket = connect({
      host: '127.0.0.1',
      port,
      ...(sni === undefined ? {} : { servername: sni }),
      rejectUnauthorized: false,
      ...(client === undefined ? {} : { cert: client.chain, key: client.key }),
      ALPNProtocols: ['http/1.1'],
      ...options,
    });
    let seen = { fingerprint: '', protocol: '', alpn: '', reused: false };
    let bytes = Buffer.alloc(0);
    const finish = (error: string) => {
      const answer = bytes.length === 0 ? null : readAnswer(bytes, { closed: true });
      socket.destroy();
      const { status = 0, headers: got = new Map<string, string>(), body = Buffer.alloc(0) } = answer ?? {};
      resolve({ ...seen, status, headers: got, body: body.toString(), error });
    };
    socket.setTimeout(5000, () => finish('no answer within 5 s'));
    if (onSession !== undefined) socket.on('session', onSession);
    socket.on('secureConnect', () => {
      const raw = socket.getPeerX509Certificate()?.raw;
      seen = {
        fingerprint: raw === undefined ? '' : createHash('sha256').update(raw).digest('hex'),
        protocol: socket.getProtocol() ?? '',
        alpn: socket.alpnProtocol === false ? '' : (socket.alpnProtocol ?? ''),
        reused: socket.isSessionReused(),
      };
      if (seen.alpn === 'h2') return finish('');
      const lines = Object.entries({ host, ...headers, connection: 'close' }).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`);
    });
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
    socket.on('close', () => finish(bytes.length === 0 ? 'closed without an answer' : ''));
  });
}

/** A connection that is kept, for one request after the other. */
export interface KeptTls {
  /** The status of the answer to `GET /` for a host. */
  get(of: { readonly host: string }): Promise<number>;
  isOpen(): boolean;
  close(): void;
}

export async function keepTls({ port, sni, client }: Required<Pick<TlsAsk, 'port' | 'sni' | 'client'>>): Promise<KeptTls> {
  const ids = { cert: client.chain, key: client.key };
  const socket = connect({ host: '127.0.0.1', port, servername: sni, rejectUnauthorized: false, ...ids, ALPNProtocols: ['http/1.1'] });
  await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  return {
    get: ({ host }) =>
      new Promise((resolve, reject) => {
        let bytes = Buffer.alloc(0);
        const ended = () => reject(new Error('the connection was closed'));
        const onData = (chunk: Buffer) => {
          bytes = Buffer.concat([bytes, chunk]);
          const answer = readAnswer(bytes, { closed: false });
          if (answer === null) return;
          socket.off('data', onData).off('close', ended);
          resolve(answer.status);
        };
        socket.on('data', onData).on('close', ended);
        socket.write(`GET / HTTP/1.1\r\nhost: ${host}\r\n\r\n`);
      }),
    isOpen: () => !socket.destroyed && socket.readyState === 'open',
    close: () => socket.destroy(),
  };
}

import { type ClientHttp2Session, connect, constants } from 'node:http2';

/** What an HTTP/2 client met. */
export interface Http2Result {
  readonly sent: number;
  readonly lost: readonly string[];
  /** Connections that it opened: more than one when the server asked it to go. */
  readonly connections: number;
}

/**
 * HTTP/2 in the clear at a constant rate on one connection, as browsers and gRPC clients have it. When the server says that it goes (GOAWAY), the next request
 * opens another; no request is sent twice.
 */
export function startHttp2Load({ port, path, rate }: { readonly port: number; readonly path: string; readonly rate: number }): {
  stop(): Promise<Http2Result>;
} {
  const lost: string[] = [];
  const open = new Set<Promise<void>>();
  let [sent, connections] = [0, 0];
  let session: ClientHttp2Session | undefined;
  const current = (): ClientHttp2Session => {
    if (session !== undefined && !session.closed && !session.destroyed) return session;
    connections += 1;
    const opened = connect(`http://127.0.0.1:${port}`);
    opened.on('error', () => undefined); // what was asked on it hears of it
    opened.on('goaway', () => opened.close());
    session = opened;
    return opened;
  };
  const ask = () =>
    new Promise<void>((resolve) => {
      sent += 1;
      const stream = current().request({ [constants.HTTP2_HEADER_PATH]: path });
      let [status, body] = [0, ''];
      stream.setEncoding('utf8');
      stream.on('response', (headers) => {
        status = Number(headers[constants.HTTP2_HEADER_STATUS]);
      });
      stream.on('data', (text: string) => {
        body += text;
      });
      stream.on('error', (error) => lost.push(error.message));
      stream.on('close', () => {
        if (status !== 200) lost.push(`${status} ${body.slice(0, 100)} (${stream.rstCode})`);
        resolve();
      });
      stream.end();
    });
  const timer = setInterval(() => {
    const asked = ask().finally(() => open.delete(asked));
    open.add(asked);
  }, 1000 / rate);
  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(open);
      session?.destroy();
      return { sent, lost, connections };
    },
  };
}

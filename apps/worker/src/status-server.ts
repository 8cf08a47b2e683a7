import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import type { Registry } from 'prom-client';

/** One condition of readiness: '' when it holds, otherwise what is wrong. */
export type Check = () => string | Promise<string>;

/** /healthz, /readyz and /metrics of a process without an API. Public by nature: it says no secret and takes no input. */
export async function startStatusServer(options: {
  readonly host: string;
  readonly port: number;
  readonly registry: Registry;
  readonly checks: Readonly<Record<string, Check>>;
}): Promise<{ port: number; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(response, 405, 'text/plain', 'GET only\n');
    if (path === '/healthz') return answer(response, 200, 'application/json', '{"status":"ok"}\n');
    if (path === '/readyz') return void ready(options.checks, response);
    if (path === '/metrics') {
      return void options.registry.metrics().then(
        (text) => answer(response, 200, options.registry.contentType, text),
        () => answer(response, 503, 'text/plain', 'metrics cannot be read now\n'),
      );
    }
    return answer(response, 404, 'text/plain', 'not found\n');
  });
  await listenOn(server, options.host, options.port);
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function ready(checks: Readonly<Record<string, Check>>, response: ServerResponse): Promise<void> {
  const results: Record<string, string> = {};
  await Promise.all(
    Object.entries(checks).map(async ([name, check]) => {
      try {
        results[name] = (await check()) || 'ok';
      } catch (error) {
        results[name] = error instanceof Error ? error.message : String(error);
      }
    }),
  );
  const good = Object.values(results).every((result) => result === 'ok');
  answer(response, good ? 200 : 503, 'application/json', `${JSON.stringify({ status: good ? 'ready' : 'not ready', checks: results })}\n`);
}

function answer(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
}

function listenOn(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => resolve());
  });
}

import { lookup } from 'node:dns/promises';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';

import type { Listen } from '#platform/config/environment.js';

/** What a route answers: a status and a JSON body. */
export interface DemoAnswer {
  readonly status: number;
  readonly body: object;
}

export type DemoRoutes = (request: { method: string; path: string; readJson(): Promise<unknown> }) => Promise<DemoAnswer>;

const MAX_BODY_BYTES = 64 * 1024;
const STOP_DEADLINE_MS = 8_000;

/**
 * Serves a demo service until SIGTERM or SIGINT: requests that are running are finished, then `onStop`, then exit 0.
 * Prints `{"event":"ready","url":...}` on stdout once it listens.
 */
export async function serveDemo(options: {
  name: string;
  listen: Listen;
  routes: DemoRoutes;
  onStop?: () => Promise<void>;
}): Promise<void> {
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://demo').pathname;
    options
      .routes({ method: request.method ?? 'GET', path, readJson: () => readJson(request) })
      .catch((error: unknown) => failure(options.name, error))
      .then(({ status, body }) => {
        response.writeHead(status, { 'content-type': 'application/json' });
        response.end(`${JSON.stringify(body)}\n`);
      });
  });
  server.keepAliveTimeout = 60_000; // longer than the gateway keeps its upstream connections idle, so that it is never the service that closes one under a request
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.listen.port, options.listen.host, resolve);
  });
  const { address, port } = server.address() as AddressInfo;
  process.stdout.write(`${JSON.stringify({ event: 'ready', service: options.name, url: `http://${address}:${port}` })}\n`);

  const stop = () => {
    setTimeout(() => process.exit(1), STOP_DEADLINE_MS).unref();
    server.close(() => {
      (options.onStop?.() ?? Promise.resolve()).then(
        () => process.exit(0),
        () => process.exit(1),
      );
    });
    server.closeIdleConnections();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

/** The answer of the first Ambassador's demo services to GET /health. */
export async function healthAnswer(name: string, ok: boolean, problem?: string): Promise<DemoAnswer> {
  const host = hostname();
  const resolved = await lookup(host).catch(() => ({ address: '127.0.0.1' })); // a machine whose own name is not in its DNS is still healthy
  const msg = ok ? `${name} health check OK` : `${name} health check failed: ${problem}`;
  return { status: ok ? 200 : 503, body: { hostname: host, msg, ok, resolvedname: resolved.address } };
}

export const notFound = (path: string): DemoAnswer => ({ status: 404, body: { ok: false, error: `there is nothing at ${path}` } });

/** A request body that is no JSON, or too long. */
export class BadBody extends Error {}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new BadBody(`the body is longer than ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (cause) {
    throw new BadBody('the body is not JSON', { cause });
  }
}

function failure(name: string, error: unknown): DemoAnswer {
  if (error instanceof BadBody) return { status: 400, body: { ok: false, error: error.message } };
  process.stderr.write(`${name}: ${error instanceof Error ? error.stack : String(error)}\n`);
  return { status: 503, body: { ok: false, error: `${name} cannot answer now` } };
}

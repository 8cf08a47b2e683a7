import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest, FastifyServerOptions } from 'fastify';

import type { Log } from '#platform/log/log.js';

import type { HttpMetrics } from './http-metrics.js';
import { HttpProblem, unsupported } from './http-problem.js';
import { type Admit, BodyReader, MAX_BODY_BYTES } from './large-body.js';
import { isLongAnswer, writeLongJson } from './long-json.js';
import { problemDocument, refusalOf } from './problem.js';
import { callerOf, codeOf, pathOf, withoutTokens } from './request-context.js';
import { RouteList } from './route-list.js';

/** Limits of time, in ms (Node looks for those who exceed them only every `checkMs`), and of connections. A client that sends slowly is cut off; nobody else waits for it. */
const HTTP_LIMITS = {
  headersMs: 10_000,
  checkMs: 1_000,
  requestMs: 30_000,
  keepAliveMs: 72_000,
  connections: 2_000,
  urlParameter: 300,
} as const;

export interface HttpAdapterOptions {
  readonly log: Log;
  readonly metrics: HttpMetrics;
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer } | undefined;
  /** Lets a caller send a large body to a route that takes one. */
  readonly admit: Admit;
}

/** Fastify as this product wants it: raw bodies (read after the guard), request ids, time limits, one log line per request, problems for every refusal. */
export class HttpAdapter extends FastifyAdapter {
  readonly routes = new RouteList();

  constructor(options: HttpAdapterOptions) {
    super(serverOptions(options));
    const fastify = this.getInstance() as unknown as FastifyInstance;
    fastify.server.maxConnections = HTTP_LIMITS.connections;
    fastify.removeAllContentTypeParsers();
    const bodies = new BodyReader(options.admit);
    fastify.addContentTypeParser('*', (request: FastifyRequest, payload: IncomingMessage) => bodies.read(request, payload));
    fastify.addHook('onRoute', (route) => this.routes.add(route.method, route.url));
    fastify.addHook('onRequest', (request, reply, done) => {
      reply.headers({ ...safeHeaders, 'X-Request-Id': request.id });
      bodies.watch(request, reply.raw);
      if (namesByUrl.has(request.method) && request.raw.url?.includes('%00') === true) sendFrameworkError(nulInUrl, request, reply);
      else done();
    });
    fastify.addHook('preSerialization', (_request, reply, payload, done) => {
      if (!isLongAnswer(payload)) return done(null, payload);
      const written = writeLongJson(payload).then((bytes) => {
        reply.serializer(() => bytes as unknown as string); // which Fastify sends as they are; it answers the reply, which as a promise's value would be waited for
      });
      written.then(() => done(null, payload), done);
    });
    fastify.addHook('onResponse', (request, reply, done) => {
      observe(options, request, reply);
      done();
    });
  }

  /** Fastify's own errors as ours, before Nest would flatten them. */
  override mapException(error: unknown): unknown {
    return transportProblem(error) ?? error;
  }
}

function serverOptions(options: HttpAdapterOptions): FastifyServerOptions {
  const server = { headersTimeout: HTTP_LIMITS.headersMs, connectionsCheckingInterval: HTTP_LIMITS.checkMs };
  const tls = options.tls === undefined ? undefined : { ...server, cert: options.tls.cert, key: options.tls.key, minVersion: 'TLSv1.2' };
  return {
    ...(tls === undefined ? { http: server } : { https: tls }),
    logger: false,
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: HTTP_LIMITS.requestMs,
    keepAliveTimeout: HTTP_LIMITS.keepAliveMs,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    requestIdHeader: false,
    genReqId: (request) => requestId(request.headers['x-request-id']),
    routerOptions: { maxParamLength: HTTP_LIMITS.urlParameter, caseSensitive: true, ignoreTrailingSlash: false },
    frameworkErrors: sendFrameworkError,
    clientErrorHandler: answerClientError,
  };
}

const safeHeaders = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
};

/** The client's id if it is one that a log can bear (a token is not), else a new one. */
function requestId(given: string | string[] | undefined): string {
  return typeof given === 'string' && /^[A-Za-z0-9._:/+=-]{1,128}$/.test(given) && withoutTokens(given) === given ? given : randomUUID();
}

/** What Fastify refuses by itself, in our terms. Undefined: not one of those. */
export function transportProblem(error: unknown): HttpProblem | undefined {
  const { code, statusCode } = error as Partial<FastifyError>;
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
    return unsupported('media_type_unsupported', 'The body must be sent with "Content-Type: application/json".', {
      Accept: 'application/json',
    });
  if (code === 'FST_ERR_BAD_URL')
    return new HttpProblem(400, 'url_malformed', 'The address has a percent sign that does not start an escape.');
  if (code === 'FST_ERR_MAX_PARAM_LENGTH' || code === 'FST_ERR_PARAM_TOO_LONG')
    return new HttpProblem(414, 'url_too_long', 'A part of the address is too long.');
  if (typeof code === 'string' && code.startsWith('FST_') && statusCode !== undefined && statusCode < 500) {
    return new HttpProblem(statusCode, 'request_refused', 'The request cannot be served as it is.');
  }
  return undefined;
}

/** The methods whose address is all that they say of what they are about; the others check their names together with the body. */
const namesByUrl: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE']);
/** No name and no text of ours has a NUL in it, and the database cannot even be asked for one. */
const nulInUrl = new HttpProblem(400, 'url_malformed', 'The address has a NUL character (%00) in it.');

function sendFrameworkError(error: FastifyError | HttpProblem, request: FastifyRequest, reply: FastifyReply): void {
  const refused = refusalOf(transportProblem(error) ?? error);
  reply
    .status(refused.status)
    .headers({ ...safeHeaders, 'X-Request-Id': request.id })
    .type('application/problem+json');
  reply.send(JSON.stringify(problemDocument(refused, pathOf(request), request.id)));
}

/** What cannot even be read as HTTP: answered on the socket itself. */
function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, code, detail] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? [431, 'headers_too_large', 'The header fields are too large.']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [408, 'request_timeout', 'The request took too long to arrive.']
        : [400, 'http_malformed', 'This is not HTTP as we read it.'];
  const refused = refusalOf(new HttpProblem(Number(status), String(code), String(detail)));
  const body = JSON.stringify(problemDocument(refused, '', randomUUID()));
  socket.end(
    `HTTP/1.1 ${status} ${refused.title}\r\nContent-Type: application/problem+json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

function observe(options: HttpAdapterOptions, request: FastifyRequest, reply: FastifyReply): void {
  const route = request.is404 ? 'none' : (request.routeOptions.url ?? 'none');
  const status = reply.statusCode;
  options.metrics.requestSeconds.observe({ method: request.method, route, status: String(status) }, reply.elapsedTime / 1000);
  const quiet = status < 400 && (route === '/healthz' || route === '/readyz' || route === '/metrics' || route === '/ambassador/health');
  options.log[quiet ? 'debug' : 'info'](
    {
      requestId: request.id,
      method: request.method,
      route,
      path: withoutTokens(pathOf(request)).slice(0, 200),
      status,
      code: codeOf(request),
      actor: callerOf(request)?.actor,
      ms: Math.round(reply.elapsedTime * 10) / 10,
      traceparent: traceparent(request.headers.traceparent),
    },
    'request',
  );
}

function traceparent(given: string | string[] | undefined): string | undefined {
  return typeof given === 'string' && /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(given) ? given : undefined;
}

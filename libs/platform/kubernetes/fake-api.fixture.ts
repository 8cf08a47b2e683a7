import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import type { ApiAccess } from './api-connection.js';
import { type FakeChange, FakeFault, type FakeObject, FakeObjects } from './fake-objects.fixture.js';

const TOKEN = 'fake-token';

interface Target {
  readonly collection: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
}

interface OpenWatch {
  readonly response: ServerResponse;
  readonly wanted: Target & { readonly selects: (object: FakeObject | undefined) => boolean; readonly bookmarks: boolean };
}

/**
 * An API server of Kubernetes for tests: list, watch, bookmarks, 410, selectors, pages, conflicts, finalizers, over HTTP, with switches for what goes
 * wrong. `api-contract.int.spec.ts` runs one suite over it and over the real one; what that does not say of it is not to be relied on.
 */
export class FakeApi {
  readonly objects = new FakeObjects();
  #server: Server | undefined;
  #port = 0;
  readonly #watches = new Set<OpenWatch>();
  #faults: { status: number; headers: Record<string, string> }[] = [];
  #token = TOKEN;
  /** Lists wait for this before they answer. */
  listGate: (query: URLSearchParams) => Promise<void> = async () => undefined;
  readonly requests: string[] = [];

  static async start(): Promise<FakeApi> {
    const api = new FakeApi();
    api.objects.onChange((change) => {
      for (const watch of api.#watches) send(watch, change);
    });
    await api.start();
    return api;
  }

  get access(): ApiAccess {
    return {
      server: `http://127.0.0.1:${this.#port}`,
      credentials: async () => ({ headers: { authorization: `Bearer ${TOKEN}` } }),
    };
  }

  get watching(): number {
    return this.#watches.size;
  }

  async start(): Promise<void> {
    const server = createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => refuse(response, error));
    });
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Goes away as a killed server does; what it stored stays. */
  async stop(): Promise<void> {
    const ended = new Promise((resolve) => (this.#server === undefined ? resolve(undefined) : this.#server.close(resolve)));
    this.#server?.closeAllConnections();
    await ended;
    this.#server = undefined;
  }

  /** The next requests are answered with these statuses, one each. */
  fail(...statuses: { status: number; headers?: Record<string, string> }[]): void {
    this.#faults.push(...statuses.map(({ status, headers = {} }) => ({ status, headers })));
  }

  /** From now on only another token counts, or the usual one again. */
  expireTokens(isExpired: boolean): void {
    this.#token = isExpired ? 'another' : TOKEN;
  }

  /** Ends every watch in the middle of the line. */
  dropWatches(): void {
    for (const { response } of this.#watches) response.destroy();
  }

  bookmark(): void {
    for (const watch of this.#watches) sendBookmark(watch, this.objects.version);
  }

  /** Says these again to every watch, in this order, whatever was said since. */
  repeat(changes: readonly FakeChange[]): void {
    for (const change of changes) for (const watch of this.#watches) send(watch, change);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://fake');
    this.requests.push(`${request.method} ${url.pathname}${url.search}`);
    const fault = this.#faults.shift();
    if (fault !== undefined) {
      for (const [name, value] of Object.entries(fault.headers)) response.setHeader(name, value);
      throw new FakeFault(fault.status, 'Fault', 'as the test wishes');
    }
    if (request.headers.authorization !== `Bearer ${this.#token}`) throw new FakeFault(401, 'Unauthorized', 'Unauthorized');
    const target = targetOf(url.pathname);
    if (request.method === 'GET' && target.name === undefined) {
      if (url.searchParams.get('watch') === 'true') this.#watch(target, url.searchParams, response);
      else {
        await this.listGate(url.searchParams);
        reply(response, 200, this.#list(target, url.searchParams));
      }
      return;
    }
    const text: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) text.push(chunk);
    const body = text.length === 0 ? {} : (JSON.parse(Buffer.concat(text).toString()) as FakeObject);
    const { collection, namespace = '', name = '' } = target;
    if (request.method === 'GET') reply(response, 200, this.objects.get(collection, namespace, name));
    else if (request.method === 'POST') reply(response, 201, this.objects.create(collection, namespace, body));
    else if (request.method === 'PUT') reply(response, 200, this.objects.update(collection, namespace, name, body));
    else if (request.method === 'PATCH') reply(response, 200, this.objects.patch(collection, namespace, name, body));
    else reply(response, 200, this.objects.delete(collection, namespace, name));
  }

  #list({ collection, namespace }: Target, query: URLSearchParams): object {
    const [version, from] = (query.get('continue') ?? '').split(':');
    if (version !== undefined && version !== '' && Number(version) < this.objects.forgotten)
      throw new FakeFault(410, 'Expired', 'The provided continue parameter is too old');
    const selects = selector(query.get('labelSelector') ?? '');
    const all = this.objects.list(collection, namespace).filter(selects);
    const start = from === undefined ? 0 : Number(from);
    const limit = Number(query.get('limit') ?? 0) || all.length;
    const at = version === undefined || version === '' ? String(this.objects.version) : version;
    const next = start + limit < all.length ? { continue: `${at}:${start + limit}` } : {};
    return { kind: 'List', apiVersion: 'v1', metadata: { resourceVersion: at, ...next }, items: all.slice(start, start + limit) };
  }

  #watch(target: Target, query: URLSearchParams, response: ServerResponse): void {
    const selects = selector(query.get('labelSelector') ?? '');
    const watch: OpenWatch = { response, wanted: { ...target, selects, bookmarks: query.get('allowWatchBookmarks') === 'true' } };
    const from = Number(query.get('resourceVersion') ?? 0);
    response.writeHead(200, { 'content-type': 'application/json' });
    if (from !== 0 && from < this.objects.forgotten) {
      response.end(`${JSON.stringify({ type: 'ERROR', object: status(410, 'Expired', `too old resource version: ${from}`) })}\n`);
      return;
    }
    response.flushHeaders();
    for (const change of this.objects.changesSince(from)) send(watch, change);
    this.#watches.add(watch);
    const seconds = Number(query.get('timeoutSeconds') ?? 0) || 1_800;
    const timer = setTimeout(() => {
      sendBookmark(watch, this.objects.version);
      response.end();
    }, seconds * 1_000);
    response.on('close', () => {
      clearTimeout(timer);
      this.#watches.delete(watch);
    });
  }
}

function targetOf(path: string): Target {
  const parts = /^(\/api\/v1|\/apis\/[^/]+\/[^/]+)(?:\/namespaces\/([^/]+))?\/([a-z]+)(?:\/([^/]+))?$/.exec(path);
  if (parts === null) throw new FakeFault(404, 'NotFound', 'the server could not find the requested resource');
  const [, group, namespace, plural, name] = parts;
  return { collection: `${group}/${plural}`, namespace, name };
}

/** `a=b,c,d!=e`. */
function selector(text: string): (object: FakeObject | undefined) => boolean {
  const terms = text.split(',').filter((term) => term !== '');
  return (object) => {
    const labels = object?.metadata.labels ?? {};
    return (
      object !== undefined &&
      terms.every((term) => {
        const [name = '', value] = term.split(/!=|==?/);
        if (value === undefined) return name in labels;
        return term.includes('!=') ? labels[name] !== value : labels[name] === value;
      })
    );
  };
}

/** A change as a watch sees it: what comes to match is added to it, what no longer does is deleted from it. */
function send({ response, wanted }: OpenWatch, { collection, type, object, before }: FakeChange): void {
  if (collection !== wanted.collection) return;
  if (wanted.namespace !== undefined && object.metadata.namespace !== wanted.namespace) return;
  const [was, is] = [before !== undefined && wanted.selects(before), type !== 'DELETED' && wanted.selects(object)];
  if (!was && !is) return;
  const seen = is ? (was ? 'MODIFIED' : 'ADDED') : 'DELETED';
  response.write(`${JSON.stringify({ type: seen, object })}\n`);
}

function sendBookmark({ response, wanted }: OpenWatch, version: number): void {
  if (wanted.bookmarks)
    response.write(`${JSON.stringify({ type: 'BOOKMARK', object: { metadata: { resourceVersion: String(version) } } })}\n`);
}

function status(code: number, reason: string, message: string): object {
  return { kind: 'Status', apiVersion: 'v1', status: 'Failure', message, reason, code };
}

function reply(response: ServerResponse, code: number, body: object): void {
  response.writeHead(code, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

function refuse(response: ServerResponse, error: unknown): void {
  if (error instanceof FakeFault) reply(response, error.code, status(error.code, error.reason, error.message));
  else reply(response, 500, status(500, 'InternalError', String(error)));
}

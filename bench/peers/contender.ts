import { existsSync } from 'node:fs';
import { Agent as PlainAgent, request as plainRequest, type RequestOptions } from 'node:http';
import { Agent as TlsAgent, request as tlsRequest } from 'node:https';
import { delimiter, join } from 'node:path';

/** Where a contender may work, and what it must serve. */
export interface Site {
  /** A folder of its own. */
  readonly folder: string;
  /** It begins with routes 0 to `routes` - 1, all at revision `v0`. */
  readonly routes: number;
  /** The service behind every route: on this port, on loopback and on `ownAddress`. */
  readonly upstreamPort: number;
  /** An address of this machine that is not loopback; undefined when the bench does not run in a network of its own. */
  readonly ownAddress: string | undefined;
  /** The same Envoy binary for everybody. */
  readonly envoy: string;
}

/**
 * One system that turns a change into a route that serves. Route `i` is the prefix `/svc<i>/`, on any host; its answers show `i` and its revision in a
 * header. A change is done when its promise resolves: as durable, and as accepted, as this system makes it.
 */
export interface Contender {
  readonly host: string;
  readonly port: number;
  /** What stands in the head of a right answer of this revision, in lower case. */
  answer(route: number, revision: string): string;
  create(route: number, revision: string): Promise<void>;
  update(route: number, revision: string): Promise<void>;
  remove(route: number): Promise<void>;
  /** The processes that hold the configuration, and those that serve. */
  readonly control: readonly number[];
  readonly data: readonly number[];
  stop(): Promise<void>;
}

export interface Peer {
  readonly name: string;
  /** What one change is, and what it is not, in a line. */
  readonly note: string;
  /** From so many routes on it takes too long to be asked by default. */
  readonly mostRoutes: number;
  /** Why it cannot run here; undefined when it can. */
  missing(site: Pick<Site, 'ownAddress'>): string | undefined;
  /** Starts it; resolves when the last route serves. */
  start(site: Site): Promise<Contender>;
}

/** The path of a request for a route. */
export function pathOf(route: number): string {
  return `/svc${route}/x`;
}

/** The header that proxies set by themselves. Chancery's mappings do not set headers: its routes rewrite the path, which the service answers with. */
export function routeHeader(route: number, revision: string): string {
  return `x-route: r${route}-${revision}\r\n`;
}

/** A program that `bench/peers/build.sh` builds. */
export function peerBinary(name: string): string | undefined {
  const folder = process.env.CHANCERY_BENCH_PEERS;
  const path = folder === undefined ? undefined : join(folder, name);
  return path !== undefined && existsSync(path) ? path : undefined;
}

export function missingPeerBinary(name: string): string | undefined {
  if (peerBinary(name) !== undefined) return undefined;
  const folder = process.env.CHANCERY_BENCH_PEERS;
  return folder === undefined
    ? `no ${name}: set CHANCERY_BENCH_PEERS to the folder of bench/peers/build.sh`
    : `no ${name} in CHANCERY_BENCH_PEERS; bench/peers/build.sh makes it`;
}

/** A program of the distribution, on PATH or in sbin. */
export function systemBinary(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

const plain = new PlainAgent({ keepAlive: true });
/** Peers whose certificate is their own: loopback only. */
const tls = new TlsAgent({ keepAlive: true, rejectUnauthorized: false });

export interface Order {
  readonly method: string;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Statuses of no success that are as good as one. */
  readonly also?: readonly number[];
}

/** One request to a contender's own interface, on a kept connection. @throws Error with the answer when it is no success. */
export function order(url: string, { method, body, headers, also = [] }: Order): Promise<string> {
  const target = new URL(url);
  const isTls = target.protocol === 'https:';
  const options: RequestOptions = {
    method,
    agent: isTls ? tls : plain,
    headers: { ...headers, ...(body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }) },
  };
  return new Promise((resolve, reject) => {
    const asked = (isTls ? tlsRequest : plainRequest)(target, options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        const status = response.statusCode ?? 0;
        if ((status >= 200 && status < 300) || also.includes(status)) resolve(text);
        else reject(new Error(`${method} ${url}: ${status} ${text.slice(0, 500)}`));
      });
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

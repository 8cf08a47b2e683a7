import { BinaryReader } from '@bufbuild/protobuf/wire';
import type { RoutedRequest } from '#features/mapping/route-matcher.js';
import { type ResourceChange, resourceId, SCOPED_ROUTE_TYPE, type XdsResource } from '#platform/xds/xds-resource.js';

import { firstSegment, type Phase, shardKey, shardOf } from './phase.js';

/*
 * What Envoy does with the bytes of shards, for tests: they are read back field by field and asked as the filters ask them, first match within the
 * virtual host, and a miss goes on to the next phase.
 */

interface ReadRoute {
  readonly name: string;
  readonly prefix: string | undefined;
  readonly path: string | undefined;
  readonly headers: readonly ReadHeader[];
  readonly isMiss: boolean;
}

interface ReadHeader {
  readonly name: string;
  readonly exact: string | undefined;
  readonly suffix: string | undefined;
  readonly ignoreCase: boolean;
}

interface ReadHost {
  readonly domains: readonly string[];
  readonly routes: readonly ReadRoute[];
}

/** What changes leave behind when they are applied one after the other. */
export function applyChange(held: Map<string, XdsResource>, change: ResourceChange): void {
  for (const key of change.removed) held.delete(resourceId(key));
  for (const resource of change.upserts) held.set(resourceId(resource), resource);
}

/** The mapping whose route answers the request: null for 404. @throws Error when a shard that is asked does not exist. */
export function routedBy(held: ReadonlyMap<string, XdsResource>, phases: readonly Phase[], request: RoutedRequest): string | null {
  const host = request.host.toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '');
  const path = request.path.replace(/[?#].*$/s, '');
  for (const phase of phases) {
    const key = shardKey(phase, shardOf(phase, host, firstSegment(request.path)));
    const scope = held.get(resourceId({ typeUrl: SCOPED_ROUTE_TYPE, name: key }));
    if (scope === undefined) throw new Error(`there is no shard ${key}`);
    const route = virtualHost(readScope(scope), host)?.routes.find((candidate) => matches(candidate, { ...request, host, path }));
    if (route === undefined) return null;
    if (!route.isMiss) return route.name;
  }
  throw new Error('the last phase says miss');
}

function virtualHost(hosts: readonly ReadHost[], host: string): ReadHost | undefined {
  const covering = (domain: string) =>
    domain === host || domain === '*' || (domain.startsWith('*.') && host.endsWith(domain.slice(1)) && host !== domain.slice(1));
  const rank = (domain: string) => (domain === '*' ? 0 : domain.startsWith('*.') ? domain.length : 1000);
  const found = hosts.flatMap((candidate) => candidate.domains.filter(covering).map((domain) => ({ candidate, domain })));
  return found.sort((a, b) => rank(b.domain) - rank(a.domain))[0]?.candidate;
}

function matches(route: ReadRoute, request: RoutedRequest): boolean {
  const isPath = route.path === undefined ? request.path.startsWith(route.prefix ?? '?') : request.path === route.path;
  return isPath && route.headers.every((header) => hasHeader(header, request));
}

function hasHeader({ name, exact, suffix, ignoreCase }: ReadHeader, request: RoutedRequest): boolean {
  const sent = name === ':method' ? request.method : name === ':authority' ? request.host : request.headers[name];
  const values = sent === undefined ? [] : typeof sent === 'string' ? [sent] : sent;
  const fold = (text: string) => (ignoreCase ? text.toLowerCase() : text);
  return values.some((value) => (exact === undefined ? fold(value).endsWith(fold(suffix ?? '?')) : fold(value) === fold(exact)));
}

const read = new WeakMap<XdsResource, readonly ReadHost[]>();

function readScope(scope: XdsResource): readonly ReadHost[] {
  const known = read.get(scope);
  if (known !== undefined) return known;
  const routeConfiguration = fields(scope.value).find(({ number }) => number === 5)?.bytes ?? Buffer.alloc(0);
  const hosts = fields(routeConfiguration)
    .filter(({ number }) => number === 2)
    .map(({ bytes }): ReadHost => {
      const inHost = fields(bytes);
      return { domains: texts(inHost, 2), routes: inHost.filter(({ number }) => number === 3).map((route) => readRoute(route.bytes)) };
    });
  read.set(scope, hosts);
  return hosts;
}

function readRoute(bytes: Uint8Array): ReadRoute {
  const all = fields(bytes);
  const match = fields(all.find(({ number }) => number === 1)?.bytes ?? bytes.subarray(0, 0));
  return {
    name: texts(all, 14)[0] ?? '',
    prefix: texts(match, 1)[0],
    path: texts(match, 2)[0],
    headers: match.filter(({ number }) => number === 6).map((header) => readHeader(header.bytes)),
    isMiss: all.some(({ number }) => number === 4),
  };
}

function readHeader(bytes: Uint8Array): ReadHeader {
  const all = fields(bytes);
  const matcher = fields(all.find(({ number }) => number === 13)?.bytes ?? bytes.subarray(0, 0));
  return {
    name: texts(all, 1)[0] ?? '',
    exact: texts(matcher, 1)[0],
    suffix: texts(matcher, 3)[0],
    ignoreCase: matcher.some(({ number }) => number === 6),
  };
}

interface ReadField {
  readonly number: number;
  readonly bytes: Uint8Array;
}

function texts(all: readonly ReadField[], number: number): string[] {
  return all.filter((field) => field.number === number).map(({ bytes }) => Buffer.from(bytes).toString('utf8'));
}

function fields(bytes: Uint8Array): ReadField[] {
  const reader = new BinaryReader(bytes);
  const found: ReadField[] = [];
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    found.push({ number, bytes: wireType === 2 ? reader.bytes() : reader.skip(wireType, number) });
  }
  return found;
}

import { hostCovers } from './host.js';
import type { RouteRow, RouteTableRow } from './route-table.js';

/** A request as the gateway sees it, before Envoy normalises it. */
export interface RoutedRequest {
  /** The Host header or `:authority`, as sent: with its port and in any case. */
  readonly host: string;
  /** The request target, with its query. */
  readonly path: string;
  readonly method: string;
  /** Lower-case names; a list for a header that was sent more than once. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
}

/**
 * The reference of what the gateway does with a request; the real Envoy is tested against it. The first row of the
 * table that matches gets the request, so hosts fall through: exact, longest wildcard, any.
 * The path must be one that Envoy's normalisation leaves as it is (no dot segments, no doubled or escaped slashes).
 */
export function matchRoute(table: readonly RouteTableRow[], request: RoutedRequest): { row: RouteTableRow } | undefined {
  const host = normalisedHost(request.host);
  const path = request.path.replace(/[?#].*$/s, '');
  const row = table.find((candidate) => matches(candidate, { ...request, host, path }));
  return row === undefined ? undefined : { row };
}

/** A host as Envoy compares it: without port and one trailing dot, in lower case. */
export function normalisedHost(host: string): string {
  return host.toLowerCase().replace(/:\d+$/, '').replace(/\.$/, '');
}

/** What of a row a request does not meet; the first of these, in this order. */
export type MismatchRule = 'host' | 'path' | 'method' | 'header';

/** A request whose host is normalised and whose path has no query. */
export type BareRequest = RoutedRequest;

function matches(row: RouteRow, request: BareRequest): boolean {
  return mismatchOf(row, request) === undefined;
}

/** Why a row does not match a request; undefined when it does. This is the one place that says whether a mapping matches. */
export function mismatchOf(row: RouteRow, request: BareRequest): MismatchRule | undefined {
  return hostCovers(row.host, request.host) ? mismatchBesideHost(row, request) : 'host';
}

/** The same for a row whose host is not in question. */
export function mismatchBesideHost(row: RouteRow, request: BareRequest): Exclude<MismatchRule, 'host'> | undefined {
  if (row.match.kind === 'path' ? request.path !== row.match.value : !request.path.startsWith(row.match.value)) return 'path';
  if (row.methods.length > 0 && !row.methods.includes(request.method)) return 'method';
  return missingHeader(row, request) === undefined ? undefined : 'header';
}

/** The first header condition of a row that a request does not meet. */
export function missingHeader(row: RouteRow, request: BareRequest): string | undefined {
  for (const name in row.headers) if (!hasValue(request.headers[name], row.headers[name] as string)) return name;
  return undefined;
}

function hasValue(sent: string | readonly string[] | undefined, value: string): boolean {
  return typeof sent === 'string' ? sent === value : (sent?.includes(value) ?? false);
}

/** The path that the upstream sees: what matched is replaced, and a slash is never doubled by it. The query stays. */
export function rewrittenPath(row: Pick<RouteTableRow, 'match' | 'rewrite'>, path: string): string {
  const rest = path.slice(row.match.value.length);
  return row.rewrite.endsWith('/') && rest.startsWith('/') && row.match.kind === 'prefix'
    ? row.rewrite + rest.slice(1)
    : row.rewrite + rest;
}

import { type HostKind, hostKind } from './host.js';
import type { MappingState } from './mapping-state.js';
import { readService } from './service-reference.js';
import { compareText, isFault } from './text.js';
import type { UpstreamTls } from './upstream-tls.js';

/** One row of a gateway's route table: a mapping in its place. The first row that matches a request gets it. */
export interface RouteTableRow {
  /** 0 for the row that is asked first. */
  readonly order: number;
  readonly mapping: string;
  readonly host: string;
  readonly hostKind: HostKind;
  readonly match: { readonly kind: 'path' | 'prefix'; readonly value: string };
  readonly methods: readonly string[];
  readonly headers: Readonly<Record<string, string>>;
  readonly precedence: number;
  readonly service: string;
  readonly tls?: UpstreamTls | undefined;
  /** The identity of the upstream (`http://usersvc:80`), or null for a service that makes no sense. */
  readonly upstream: string | null;
  readonly rewrite: string;
  readonly timeoutMs: number;
}

/** What of a row its routes are made of. */
export type RouteRow = Omit<RouteTableRow, 'order' | 'upstream'>;

/**
 * The route table: a total order, so that equal sets of mappings give equal tables on every machine, whatever order
 * they come in. Hosts: exact, then the longest wildcard, then any. Within a host: higher precedence; exact path, then
 * the longest prefix; more conditions; the name breaks what is left.
 */
export function buildRouteTable(mappings: Iterable<MappingState>): RouteTableRow[] {
  return [...mappings]
    .map(routeRow)
    .sort(compareRows)
    .map((row, order) => ({ order, ...row, upstream: upstreamOf(row) }));
}

/** The identity of a row's upstream, or null for a service that makes no sense. */
export function upstreamOf({ service }: Pick<RouteRow, 'service'>): string | null {
  const read = readService(service);
  return isFault(read) ? null : read.key;
}

/** A mapping as a row that has no place yet. */
export function routeRow(mapping: MappingState): RouteRow {
  return {
    mapping: mapping.name,
    host: mapping.host,
    hostKind: hostKind(mapping.host),
    match: mapping.path === null ? { kind: 'prefix', value: mapping.prefix ?? '' } : { kind: 'path', value: mapping.path },
    methods: mapping.methods.length > 1 ? [...mapping.methods].sort(compareText) : mapping.methods,
    headers: mapping.headers,
    precedence: mapping.precedence,
    service: mapping.service,
    ...(mapping.tls === undefined ? {} : { tls: mapping.tls }),
    rewrite: mapping.rewrite,
    timeoutMs: mapping.timeoutMs,
  };
}

const hostRank: Readonly<Record<HostKind, number>> = { exact: 0, suffix: 1, any: 2 };

/** Why one row is asked before another, in the order in which the reasons count. */
export type OrderRule = 'host' | 'precedence' | 'exact_path' | 'longer_match' | 'more_conditions' | 'name';

const order: readonly (readonly [OrderRule, (a: RouteRow, b: RouteRow) => number])[] = [
  ['host', compareHosts],
  ['precedence', (a, b) => b.precedence - a.precedence],
  ['exact_path', (a, b) => compareText(a.match.kind, b.match.kind)], // 'path' sorts before 'prefix'
  ['longer_match', (a, b) => b.match.value.length - a.match.value.length],
  ['more_conditions', (a, b) => conditions(b) - conditions(a)],
  ['name', (a, b) => compareText(a.mapping, b.mapping)],
];

/** Negative when `a` is asked before `b`. */
export function compareRows(a: RouteRow, b: RouteRow): number {
  for (const [, compare] of order) {
    const result = compare(a, b);
    if (result !== 0) return result;
  }
  return 0;
}

/** The reason by which one of the two is asked before the other. */
export function orderRule(a: RouteRow, b: RouteRow): OrderRule {
  return order.find(([, compare]) => compare(a, b) !== 0)?.[0] ?? 'name';
}

function compareHosts(a: RouteRow, b: RouteRow): number {
  return (
    hostRank[a.hostKind] - hostRank[b.hostKind] ||
    (a.hostKind === 'suffix' ? b.host.length - a.host.length : 0) ||
    compareText(a.host, b.host)
  );
}

/** How many conditions a row has beside host and path: each header, and the methods as one. */
function conditions(row: Pick<RouteRow, 'headers' | 'methods'>): number {
  return Object.keys(row.headers).length + (row.methods.length > 0 ? 1 : 0);
}

import { duration, literal, statToken } from '#platform/envoy/model/envoy-text.js';
import { SET_ASIDE_HEADER } from '#platform/envoy/model/reserved.js';
import type { Route, VirtualHost } from '#platform/envoy/model/route.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { clusterName } from './mapping-cluster.envoy.js';
import { fromJson, type MappingState } from './mapping-state.js';
import { buildRouteTable, compareRows, type RouteRow, type RouteTableRow, routeRow } from './route-table.js';
import { type Refusal, rowFault, rowService } from './row-fault.js';
import { isFault } from './text.js';
import type { Upstream } from './upstream-tls.js';
import { mostCopiedBytes, toVirtualHosts } from './virtual-hosts.js';

/** What the translation needs to know beside the table. */
export interface EnvoyContext {
  /** Mappings that are answered 503 with their reason, or (`drop`) not at all. */
  readonly setAside: ReadonlyMap<string, { readonly code: string; readonly drop: boolean }>;
  readonly allowLoopback: boolean;
  /** Statistics per mapping: measured to cost memory, so a setting. */
  readonly perRouteStats: boolean;
  /** How much JSON of broader hosts' routes may be copied into narrower hosts, all together; the budget of virtual-hosts.ts by default. */
  readonly maxCopiedBytes?: number | undefined;
  /** Is there a certificate of this name to be shown to upstreams? Left out: yes. */
  hasCertificate?(name: string): boolean;
}

/** A table in Envoy's terms. */
export interface EnvoyMappings {
  /** One per distinct host, and always one for any host, last. */
  readonly virtualHosts: readonly VirtualHost[];
  /** The distinct upstreams of live routes, by cluster name, sorted. */
  readonly upstreams: ReadonlyMap<string, Upstream>;
  /** Mappings that make no sense to Envoy, with the reason. They harm nobody else. */
  readonly refused: ReadonlyMap<string, Refusal>;
  readonly clusterOf: ReadonlyMap<string, string>;
  readonly statPrefixOf: ReadonlyMap<string, string>;
}

/**
 * The virtual hosts of a part of a table: mappings whose outcome is decided, in any order. One for any host is always among them. Where a broader
 * host's routes would be copied into narrower ones beyond the budget, conditions take the place of copies, as in the whole.
 */
export function partOfTable(
  mappings: Iterable<{ readonly mapping: MappingState; readonly outcome: RowOutcome }>,
  perRouteStats: boolean,
  maxCopiedBytes: number,
): VirtualHost[] {
  const rendered = new Map<RouteRow, readonly Route[]>();
  for (const { mapping, outcome } of mappings) {
    const row = routeRow(mapping);
    rendered.set(row, rowRoutes(row, outcome, perRouteStats));
  }
  return toVirtualHosts([...rendered.keys()].sort(compareRows), rendered, maxCopiedBytes, []);
}

/** A mapping out of the log, as it is translated: whatever is there, no state stops the translation (see `fromJson`). */
export function mappingOf(name: string, state: JsonObject): MappingState {
  return fromJson(name, state);
}

/**
 * Translates the mappings, in any order. `first` stands before every mapping's routes in every virtual host.
 */
export function toEnvoy(mappings: readonly MappingState[], context: EnvoyContext, first: readonly Route[]): EnvoyMappings {
  const table = buildRouteTable(mappings);
  const refused = new Map<string, Refusal>();
  const clusterOf = new Map<string, string>();
  const statPrefixOf = new Map<string, string>();
  const upstreams = new Map<string, Upstream>();
  const rendered = new Map<RouteTableRow, readonly Route[]>();
  for (const row of table) {
    const { refusal, outcome, service } = planRow(row, asideOf(row, context), context.allowLoopback);
    if (refusal !== undefined) refused.set(row.mapping, refusal);
    if (outcome.kind === 'dropped') continue;
    if (context.perRouteStats) statPrefixOf.set(row.mapping, statToken(row.mapping));
    if (outcome.kind === 'forwarded' && service !== undefined) {
      upstreams.set(outcome.cluster, service);
      clusterOf.set(row.mapping, outcome.cluster);
    }
    rendered.set(row, rowRoutes(row, outcome, context.perRouteStats));
  }
  const virtualHosts = toVirtualHosts(table, rendered, context.maxCopiedBytes ?? mostCopiedBytes, first);
  return { virtualHosts, upstreams: new Map([...upstreams].sort(([a], [b]) => (a < b ? -1 : 1))), refused, clusterOf, statPrefixOf };
}

/** Without the certificate that its service demands, a mapping is answered by itself and not without one. */
function asideOf({ mapping, tls }: RouteRow, { setAside, hasCertificate }: EnvoyContext) {
  const certificate = tls?.certificate ?? null;
  if (certificate !== null && hasCertificate?.(certificate) === false) return { code: 'certificate_unavailable', drop: false };
  return setAside.get(mapping);
}

/** What becomes of one row: no route, one that says why there is none, or one that forwards. */
export type RowOutcome =
  | { readonly kind: 'dropped' }
  | { readonly kind: 'aside'; readonly code: string }
  | { readonly kind: 'forwarded'; readonly cluster: string };

/** The decision about a row: its outcome, why it was refused if it was, and the upstream if it forwards. */
export interface RowPlan {
  readonly outcome: RowOutcome;
  readonly refusal: Refusal | undefined;
  readonly service: Upstream | undefined;
}

/** As `planRow`, for a mapping by itself. */
export function planMapping(
  mapping: MappingState,
  setAside: { readonly code: string; readonly drop: boolean } | undefined,
  allowLoopback: boolean,
): RowPlan {
  return planRow(routeRow(mapping), setAside, allowLoopback);
}

/** Decides what becomes of a row. Its own fault goes before what was set aside. */
function planRow(row: RouteRow, setAside: { readonly code: string; readonly drop: boolean } | undefined, allowLoopback: boolean): RowPlan {
  const refusal = rowFault(row, { allowLoopback });
  const aside = refusal ?? setAside;
  if (aside !== undefined) {
    return { outcome: aside.drop ? { kind: 'dropped' } : { kind: 'aside', code: aside.code }, refusal, service: undefined };
  }
  const service = rowService(row.service, allowLoopback);
  if (isFault(service)) throw new Error(`rowFault let the service of ${row.mapping} through`);
  const upstream = row.tls === undefined ? service : { ...service, tls: row.tls };
  return { outcome: { kind: 'forwarded', cluster: clusterName(upstream) }, refusal, service: upstream };
}

/** A row's routes, in the order in which they are asked; none for a dropped one. */
function rowRoutes(row: RouteRow, outcome: RowOutcome, perRouteStats: boolean): readonly Route[] {
  if (outcome.kind === 'dropped') return [];
  const statPrefix = perRouteStats ? { stat_prefix: statToken(row.mapping) } : {};
  if (outcome.kind === 'forwarded') return forwarding(row, outcome.cluster, statPrefix);
  return routes(row, { ...setAside(row, outcome.code), ...statPrefix });
}

/** One Envoy route per method: an alternation would need a regular expression, and those have a size limit of their own. */
function routes(row: RouteRow, action: Omit<Route, 'name' | 'match'>, prefix = row.match.value): Route[] {
  const match = row.match.kind === 'path' ? { path: prefix } : { prefix };
  const headers = Object.keys(row.headers)
    .sort()
    .map((name) => ({ name, string_match: { exact: row.headers[name] ?? '' } }));
  const methods = row.methods.length === 0 ? [[]] : row.methods.map((method) => [{ name: ':method', string_match: { exact: method } }]);
  return methods.map((method) => {
    const conditions = [...method, ...headers];
    return { name: row.mapping, match: conditions.length === 0 ? match : { ...match, headers: conditions }, ...action };
  });
}

/** The connection manager's stream_idle_timeout; a mapping that may take longer overrides it. */
export const streamIdleTimeoutMs = 300_000;

function forwarding(row: RouteRow, cluster: string, statPrefix: Pick<Route, 'stat_prefix'>): Route[] {
  const { match, rewrite, timeoutMs } = row;
  const action = (matched: string): Omit<Route, 'name' | 'match'> => ({
    route: {
      cluster,
      timeout: duration(timeoutMs),
      ...(timeoutMs > streamIdleTimeoutMs ? { idle_timeout: duration(timeoutMs) } : {}),
      ...(rewrite === matched ? {} : { prefix_rewrite: rewrite }),
    },
    ...statPrefix,
  });
  // /user -> / would make //x of /user/x: what continues with a slash is matched first, slash included.
  const splits = match.kind === 'prefix' && rewrite.endsWith('/') && !match.value.endsWith('/');
  const longer = `${match.value}/`;
  return [...(splits ? routes(row, action(longer), longer) : []), ...routes(row, action(match.value))];
}

/** What a mapping that was set aside answers: 503, and why, for a person and for a program. */
function setAside(row: RouteRow, code: string): Omit<Route, 'name' | 'match'> {
  const reason = /^[a-z][a-z0-9_]{0,63}$/.test(code) ? code : 'set_aside';
  const mapping = row.mapping.slice(0, 64);
  const header = (key: string, value: string) =>
    ({ header: { key, value: literal(value) }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }) as const;
  const body = { title: 'This mapping is set aside.', status: 503, code: reason, mapping };
  return {
    direct_response: { status: 503, body: { inline_string: JSON.stringify(body) } },
    response_headers_to_add: [header('content-type', 'application/problem+json'), header(SET_ASIDE_HEADER, reason)],
  };
}

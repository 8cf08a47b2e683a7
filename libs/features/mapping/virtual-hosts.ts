import { statToken } from '#platform/envoy/model/envoy-text.js';
import type { HeaderMatcher, Route, VirtualHost } from '#platform/envoy/model/route.js';

import { hostKind } from './host.js';

/** 100,000 ordinary routes are 18 MB of bootstrap, 4 s to validate; copies may double that. */
export const mostCopiedBytes = 16_000_000;

/** The hosts that are broader than this one, narrowest first: `a.b.c` -> `*.b.c`, `*.c`, `*`. */
function broaderHosts(host: string): string[] {
  if (host === '*') return [];
  const labels = (host.startsWith('*.') ? host.slice(2) : host).split('.');
  return [...labels.slice(1).map((_, i) => `*.${labels.slice(i + 1).join('.')}`), '*'];
}

interface Hosted {
  readonly host: string;
}

type Rendered<Row> = ReadonlyMap<Row, readonly Route[]>;

/**
 * The virtual hosts of a table, whose rendered rows are given. Envoy picks one virtual host by the request's host and
 * never looks into another, while our hosts fall through; so the routes of broader hosts are copied behind those of each
 * narrower host, in the table's order.
 *
 * Copies cost (hosts times broad routes), so they have a budget. A host for which it does not reach gets no virtual host:
 * its routes stand, bound to it by a condition on the request's host, before those of the next broader host that has one.
 * That answers every request the same and copies nothing; it costs requests a longer list to go through.
 */
export function toVirtualHosts<Row extends Hosted>(
  table: readonly Row[],
  rendered: Rendered<Row>,
  maxBytes: number,
  first: readonly Route[],
): VirtualHost[] {
  const byHost = new Map<string, Row[]>();
  for (const row of table) {
    if (!rendered.has(row)) continue;
    const rows = byHost.get(row.host);
    if (rows === undefined) byHost.set(row.host, [row]);
    else rows.push(row);
  }
  if (!byHost.has('*')) byHost.set('*', []);
  // Most parts of a table have exact hosts only: nothing falls through then.
  const isFlat = [...byHost].every(([host, rows]) => rows.length === 0 || hostKind(host) === 'exact');
  const standing = isFlat ? new Set(byHost.keys()) : withinBudget(byHost, rendered, maxBytes);
  const folded = new Map<string, Route[]>();
  for (const [host, rows] of byHost) {
    if (standing.has(host)) continue;
    const home = broaderHosts(host).find((broader) => standing.has(broader)) ?? '*';
    folded.set(home, [...(folded.get(home) ?? []), ...rows.flatMap((row) => (rendered.get(row) ?? []).map((route) => bound(route, host)))]);
  }
  return [...standing].map((host) => {
    const rows = isFlat ? (byHost.get(host) ?? []) : [host, ...broaderHosts(host)].flatMap((name) => byHost.get(name) ?? []);
    return {
      name: statToken(host),
      domains: [host],
      routes: [...first, ...(folded.get(host) ?? []), ...rows.flatMap((row) => rendered.get(row) ?? [])],
      // Only what provably never reached the service is tried again, so this is safe for every method.
      retry_policy: { retry_on: 'connect-failure,refused-stream,reset-before-request', num_retries: 2 },
    };
  });
}

/** The hosts that get a virtual host of their own, in the table's order; any host always does. */
function withinBudget<Row>(byHost: ReadonlyMap<string, readonly Row[]>, rendered: Rendered<Row>, maxBytes: number): Set<string> {
  const bytesOf = new Map<string, number>();
  for (const [host, rows] of byHost) {
    const isCopied = hostKind(host) !== 'exact' && byHost.size > 1;
    bytesOf.set(host, isCopied ? rows.reduce((sum, row) => sum + JSON.stringify(rendered.get(row)).length, 0) : 0);
  }
  let left = maxBytes;
  const standing = new Set<string>();
  for (const host of byHost.keys()) {
    const bytes = broaderHosts(host).reduce((sum, broader) => sum + (bytesOf.get(broader) ?? 0), 0);
    if (bytes > left) continue;
    left -= bytes;
    standing.add(host);
  }
  return standing;
}

/** The route for requests to one host only. Port and trailing dot are off the host when Envoy routes; its case is not. */
function bound(route: Route, host: string): Route {
  const value = hostKind(host) === 'suffix' ? { suffix: host.slice(1) } : { exact: host };
  const condition: HeaderMatcher = { name: ':authority', string_match: { ...value, ignore_case: true } };
  return { ...route, match: { ...route.match, headers: [condition, ...(route.match.headers ?? [])] } };
}

import { toRouteConfiguration } from '#features/gateway/routes.envoy.js';
import { partOfTable, type RowOutcome } from '#features/mapping/mapping.envoy.js';
import type { MappingState } from '#features/mapping/mapping-state.js';
import { NEXT_HEADER, NO_CLUSTER, PROOF_HEADER, SHARD_HEADER, SHARD_MARKER_PREFIX } from '#platform/envoy/model/reserved.js';
import type { Route, ScopedRouteConfiguration, VirtualHost } from '#platform/envoy/model/route.js';
import { encode } from '#platform/envoy/wire/message-fields.js';
import { scopedRouteMessage } from '#platform/envoy/wire/route-messages.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import { SCOPED_ROUTE_TYPE, type XdsResource } from '#platform/xds/xds-resource.js';

/** A mapping in the live table. */
export interface Entry {
  readonly mapping: MappingState;
  readonly outcome: RowOutcome;
  readonly aside: { readonly code: string; readonly drop: boolean } | undefined;
  /** Where its routes stand; null for one that has none. */
  shard: Shard | null;
}

/** The rows of a phase that are asked together: one scope. */
export class Shard {
  readonly rows = new Set<Entry>();
  /** What was given out for it last, and the rows that it was made of. */
  resource: XdsResource | undefined;
  given: Entry[] = [];

  constructor(
    readonly key: string,
    /** Where its phase stands within its class: 0 for rows bound to a segment, 1 for those bound to its first characters, 2 for the rest. */
    readonly rank: 0 | 1 | 2,
    /** Is there no phase after it? */
    readonly isLast: boolean,
  ) {}
}

/** How much JSON of broader wildcard hosts' routes may be copied into narrower ones within one shard. */
const mostCopiedBytes = 65_536;

/**
 * Says that a shard has no route for a request, so that the next phase is asked. Never the other way round: filters cannot read the metadata of
 * routes that answer by themselves.
 */
const miss: Route = {
  name: 'miss',
  match: { prefix: '/' },
  metadata: { filter_metadata: { chancery: { miss: true } } },
  route: { cluster: NO_CLUSTER, timeout: '1s' },
};

const blank = '0'.repeat(64);

/** A shard's resource. `rows` are its own and those of later phases that precede some of them, in any order. */
export function renderShard(shard: Shard, rows: readonly Entry[], perRouteStats: boolean): XdsResource {
  const value = encode(scopedRouteMessage, shardModel(shard, rows, perRouteStats));
  const needs = new Set<string>();
  for (const { outcome } of rows) if (outcome.kind === 'forwarded') needs.add(outcome.cluster);
  value.write(sha256Hex(value), markerAt(value, shard.key), 'latin1');
  return { typeUrl: SCOPED_ROUTE_TYPE, name: shard.key, version: sha256Hex(value), value, needs: [...needs].sort() };
}

/** The shard in Envoy's terms, its marker blank. */
export function shardModel(shard: Pick<Shard, 'key' | 'isLast'>, rows: readonly Entry[], perRouteStats: boolean): ScopedRouteConfiguration {
  const virtualHosts = partOfTable(rows, perRouteStats, mostCopiedBytes).map(
    (host): VirtualHost => ({
      ...host,
      routes: [...(host.domains[0] === '*' ? [markerRoute(shard.key)] : []), ...host.routes, ...(shard.isLast ? [] : [miss])],
    }),
  );
  // The one with the marker stands first, where the marker is found again.
  return scopeOf(shard.key, [...virtualHosts.slice(-1), ...virtualHosts.slice(0, -1)]);
}

/** The scope with this key and these routes. */
export function scopeOf(key: string, virtualHosts: readonly VirtualHost[]): ScopedRouteConfiguration {
  const options = { validateClusters: true, ownHeaders: [PROOF_HEADER, SHARD_HEADER, NEXT_HEADER] };
  return { name: key, key: { fragments: [{ string_key: key }] }, route_configuration: toRouteConfiguration(key, virtualHosts, options) };
}

function markerRoute(key: string): Route {
  return {
    name: 'chancery-marker',
    match: { path: SHARD_MARKER_PREFIX + key },
    direct_response: { status: 200, body: { inline_string: blank } },
    response_headers_to_add: [{ header: { key: 'cache-control', value: 'no-store' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }],
  };
}

/** Field `inline_string` with 64 bytes: the first one behind the marker's path is the marker's body. */
const bodyStart = Buffer.from([0x1a, 64]);

/** Where the text of a shard's marker stands in its bytes. @throws Error when they are not those of a shard. */
function markerAt(value: Buffer, key: string): number {
  const path = value.indexOf(SHARD_MARKER_PREFIX + key);
  const body = path < 0 ? -1 : value.indexOf(bodyStart, path);
  if (body < 0) throw new Error(`${key} is not a shard`);
  return body + bodyStart.length;
}

/** What a shard's marker answers: a hash of its content, in which the marker is blank. */
export function markerOf({ name, value }: Pick<XdsResource, 'name' | 'value'>): string {
  const at = markerAt(value, name);
  return value.toString('latin1', at, at + blank.length);
}

import { BinaryWriter } from '@bufbuild/protobuf/wire';

import { sha256Hex } from '#platform/kernel/digest.js';
import { CLUSTER_TYPE, ENDPOINT_TYPE, EXTENSION_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE, type XdsResource } from './xds-resource.js';

/* A gateway of scoped routes in Envoy's own messages, as small as tests need it. Field numbers are those of envoy/config/**.proto. */

type Field = readonly [number: number, value: string | number | Uint8Array];

function message(...fields: readonly Field[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const [number, value] of fields) {
    if (typeof value === 'number') writer.uint32(number << 3).uint32(value);
    else if (typeof value === 'string') writer.uint32((number << 3) | 2).string(value);
    else writer.uint32((number << 3) | 2).bytes(value);
  }
  return writer.finish();
}

const any = (type: string, value: Uint8Array) => message([1, `type.googleapis.com/${type}`], [2, value]);
/** ConfigSource {ads: {}, resource_api_version: V3, initial_fetch_timeout}: after so many seconds Envoy goes on without; 0: it waits as long as it takes. */
const adsSource = (fetchTimeoutS: number) =>
  message([3, message()], [6, 2], [4, fetchTimeoutS === 0 ? message() : message([1, fetchTimeoutS])]);
const ads = adsSource(0);

function resource(typeUrl: string, name: string, value: Uint8Array, needs: readonly string[] = []): XdsResource {
  const bytes = Buffer.from(value);
  return { typeUrl, name, value: bytes, version: sha256Hex(bytes), needs };
}

const address = (port: number, host = '127.0.0.1') => message([1, message([2, host], [3, port])]);

/** An EDS cluster over ADS; `connectTimeoutS` makes another definition of it. */
export function edsCluster(name: string, connectTimeoutS = 1, fetchTimeoutS = 0): XdsResource {
  const eds = message([1, adsSource(fetchTimeoutS)]);
  return resource(CLUSTER_TYPE, name, message([1, name], [2, 3], [3, eds], [4, message([1, connectTimeoutS])]));
}

/** Envoy refuses it: a name where a static cluster must have an address. */
export function badCluster(name: string): XdsResource {
  const endpoint = message([1, message([1, address(80, 'not-an-address')])]);
  return resource(
    CLUSTER_TYPE,
    name,
    message([1, name], [2, 0], [4, message([1, 1])], [33, message([1, name], [2, message([2, endpoint])])]),
  );
}

export function endpoints(cluster: string, ...ports: readonly number[]): XdsResource {
  const list = ports.map((port): Field => [2, message([1, message([1, address(port)])])]);
  return resource(ENDPOINT_TYPE, cluster, message([1, cluster], ...(list.length === 0 ? [] : ([[2, message(...list)]] as const))));
}

/** To a cluster, or answered by Envoy itself; a `regex` instead of the prefix may be a bad one. */
export interface TestRoute {
  readonly prefix?: string;
  readonly regex?: string;
  readonly cluster?: string;
  readonly body?: string;
}

/** One scope with its routes inline, for the key that is its name. */
export function scope(name: string, ...routes: readonly TestRoute[]): XdsResource {
  const encoded = routes.map(({ prefix = '/', regex, cluster, body }): Field => {
    const match = regex === undefined ? message([1, prefix]) : message([10, message([2, regex])]);
    const action: Field = cluster === undefined ? [7, message([1, 200], [2, message([3, body ?? name])])] : [2, message([1, cluster])];
    return [3, message([1, match], action)];
  });
  const host = message([1, 'any'], [2, '*'], ...encoded);
  const table = message([1, name], [2, host], [7, message([1, 1])]);
  const key = message([1, message([1, name])]);
  const needs = [...new Set(routes.flatMap(({ cluster }) => cluster ?? []))];
  return resource(SCOPED_ROUTE_TYPE, name, message([1, name], [3, key], [5, table]), needs);
}

/** A Lua filter that chooses the scope: `<generation>-<first path segment>`. */
export function scopeFilter(generation: string): XdsResource {
  const code = `function envoy_on_request(h)
  local hs = h:headers()
  hs:replace("x-scope", "${generation}-" .. (string.match(hs:get(":path"), "^/([^/?]*)") or ""))
end`;
  const lua = message([3, message([3, code])]);
  const config = any('envoy.extensions.filters.http.lua.v3.Lua', lua);
  return resource(EXTENSION_TYPE, 'scope-filter', message([1, 'scope-filter'], [2, config]));
}

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';

export function listener(name: string, port: number, statPrefix = 'ingress'): XdsResource {
  const router = message([1, 'envoy.filters.http.router'], [4, any('envoy.extensions.filters.http.router.v3.Router', message())]);
  const discovered = message([1, ads], [4, 'type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua']);
  const keyBuilder = message([1, message([1, message([1, 'x-scope'], [3, 0])])]);
  const manager = message(
    [2, statPrefix],
    [5, message([1, 'scope-filter'], [5, discovered])],
    [5, router],
    [31, message([1, 'scopes'], [2, keyBuilder], [3, ads], [5, message([1, ads])])],
  );
  const filter = message([1, 'envoy.filters.network.http_connection_manager'], [4, any(HCM, manager)]);
  return resource(LISTENER_TYPE, name, message([1, name], [2, address(port)], [3, message([3, filter])]));
}

/** What Envoy is started with: everything by ADS from this address. */
export function adsBootstrap(options: {
  readonly ads: { readonly pipe: string } | { readonly port: number };
  readonly admin: string;
  readonly protocol: 'delta' | 'sotw';
  readonly node: string;
}): string {
  const { ads: server, admin, protocol, node } = options;
  const where = 'pipe' in server ? { pipe: { path: server.pipe } } : { socket_address: { address: '127.0.0.1', port_value: server.port } };
  const source = { ads: {}, resource_api_version: 'V3', initial_fetch_timeout: '0s' };
  return JSON.stringify({
    node: { id: node, cluster: 'test' },
    admin: { address: { pipe: { path: admin } } },
    dynamic_resources: {
      ads_config: {
        api_type: protocol === 'delta' ? 'DELTA_GRPC' : 'GRPC',
        transport_api_version: 'V3',
        grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }],
      },
      cds_config: source,
      lds_config: source,
    },
    static_resources: {
      clusters: [
        {
          name: 'xds',
          type: 'STATIC',
          connect_timeout: '1s',
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          load_assignment: { cluster_name: 'xds', endpoints: [{ lb_endpoints: [{ endpoint: { address: where } }] }] },
        },
      ],
    },
  });
}

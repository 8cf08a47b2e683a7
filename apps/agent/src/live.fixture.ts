import { ADMIN_SOCKET, XDS_SOCKET } from '#platform/envoy/node-folder.js';
import { clusterMessage, loadAssignmentMessage } from '#platform/envoy/wire/cluster-messages.js';
import { extensionMessage, listenerMessage } from '#platform/envoy/wire/listener-messages.js';
import { encode, type Message } from '#platform/envoy/wire/message-fields.js';
import { scopedRouteMessage } from '#platform/envoy/wire/route-messages.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import {
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  EXTENSION_TYPE,
  LISTENER_TYPE,
  SCOPED_ROUTE_TYPE,
  type XdsResource,
} from '#platform/xds/xds-resource.js';

/*
 * Resources for the agent's tests, small and real: a listener whose filter takes the first segment of the path as the scope, scopes that answer with a text, and
 * their probes under the reserved prefix as the layout has them.
 */

// biome-ignore lint/suspicious/noExplicitAny: the models are narrower than what a test may want
type Any = any;

const ADS = { ads: {}, resource_api_version: 'V3' };

const LUA_TYPE = 'type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua';
const LUA = `function envoy_on_request(h)
  local hs = h:headers()
  local path = string.match(hs:get(":path"), "^[^?]*")
  local key = string.match(path, "^/%.well%-known/chancery/shard/(.+)$")
  if key == nil then
    if string.sub(path, 1, 22) == "/.well-known/chancery/" then key = "reserved" else key = string.match(path, "^/([^/]*)") end
  end
  hs:replace("x-chancery-shard", key)
end`;

const marks = new WeakMap<XdsResource, string>();

/** What proves a scope of `liveScope`; nothing for other resources. */
export function probeOf(scope: XdsResource): { path: string; body: string }[] {
  const body = marks.get(scope);
  return body === undefined ? [] : [{ path: `/.well-known/chancery/shard/${scope.name}`, body }];
}

export function resource(typeUrl: string, name: string, type: Message<Any>, value: unknown, needs: readonly string[] = []): XdsResource {
  const bytes = encode(type, value as Any);
  return { typeUrl, name, version: sha256Hex(bytes), value: bytes, needs };
}

/** A listener on this port of loopback. `statPrefix` makes another of it that Envoy takes in place, `bufferBytes` one that it opens beside the old one. */
export function liveListener(port: number, { statPrefix = 'ingress_http', bufferBytes = 1_048_576 } = {}): XdsResource {
  return resource(LISTENER_TYPE, 'http', listenerMessage, {
    name: 'http',
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    per_connection_buffer_limit_bytes: bufferBytes,
    filter_chains: [
      {
        filters: [managerOf(statPrefix)],
      },
    ],
  });
}

/** A listener with TLS on this port of loopback, with these certificates. */
export function liveTlsListener(port: number, ...secrets: readonly string[]): XdsResource {
  return resource(LISTENER_TYPE, 'https', listenerMessage, {
    name: 'https',
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [
      {
        filters: [managerOf('ingress_http')],
        transport_socket: {
          name: 'envoy.transport_sockets.tls',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
            common_tls_context: {
              tls_params: { tls_minimum_protocol_version: 'TLSv1_2' },
              alpn_protocols: ['http/1.1'],
              tls_certificate_sds_secret_configs: secrets.map((name) => ({ name, sds_config: ADS })),
            },
          },
        },
      },
    ],
  });
}

function managerOf(statPrefix: string): object {
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
      stat_prefix: statPrefix,
      common_http_protocol_options: { idle_timeout: '0.500s' },
      scoped_routes: {
        name: 'scopes',
        scope_key_builder: { fragments: [{ header_value_extractor: { name: 'x-chancery-shard', index: 0 } }] },
        rds_config_source: ADS,
        scoped_rds: { scoped_rds_config_source: ADS },
      },
      http_filters: [
        { name: 'shards', config_discovery: { config_source: ADS, type_urls: [LUA_TYPE] } },
        {
          name: 'envoy.filters.http.router',
          typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
        },
      ],
    },
  };
}

/** The filter that the listener asks for, by ECDS. */
export function liveFilter(): XdsResource {
  const typed_config = { '@type': LUA_TYPE, default_source_code: { inline_string: LUA } };
  return resource(EXTENSION_TYPE, 'shards', extensionMessage, { name: 'shards', typed_config });
}

/** A scope that answers everything under `/<name>` with a text, or sends it to a cluster; its probe answers with `mark`. */
export function liveScope(
  name: string,
  { body, cluster, mark = body ?? '' }: { body?: string; cluster?: string; mark?: string },
): XdsResource {
  const answer =
    cluster === undefined
      ? { direct_response: { status: 200, body: { inline_string: body ?? '' } } }
      : { route: { cluster, timeout: '10s' } };
  const probe = {
    match: { path: `/.well-known/chancery/shard/${name}` },
    direct_response: { status: 200, body: { inline_string: mark } },
  };
  const made = scope(name, [probe, { match: { prefix: '/' }, ...answer }], cluster === undefined ? [] : [cluster]);
  marks.set(made, mark);
  return made;
}

/** Answers the marker to whoever knows the secret. */
export function reservedScope(marker: string, secret: string): XdsResource {
  const headers = [{ name: 'x-chancery-proof', string_match: { exact: secret } }];
  const match = { path: '/.well-known/chancery/marker', headers };
  return scope('reserved', [{ match, direct_response: { status: 200, body: { inline_string: marker } } }], []);
}

/** A scope that Envoy refuses: its route leads to a cluster that there is not. */
export function badScope(name: string): XdsResource {
  return { ...liveScope(name, { cluster: 'nowhere' }), needs: [] };
}

function scope(name: string, routes: readonly unknown[], needs: readonly string[]): XdsResource {
  const value = {
    name,
    key: { fragments: [{ string_key: name }] },
    route_configuration: { name, virtual_hosts: [{ name: 'all', domains: ['*'], routes }], validate_clusters: true },
  };
  return resource(SCOPED_ROUTE_TYPE, name, scopedRouteMessage, value, needs);
}

/** An EDS cluster and, with a port, its one endpoint. */
export function liveCluster(name: string, port?: number): readonly XdsResource[] {
  const cluster = resource(CLUSTER_TYPE, name, clusterMessage, {
    name,
    type: 'EDS',
    connect_timeout: '1s',
    eds_cluster_config: { eds_config: ADS },
  });
  if (port === undefined) return [cluster];
  const address = { socket_address: { address: '127.0.0.1', port_value: port } };
  const endpoints = { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] };
  return [cluster, resource(ENDPOINT_TYPE, name, loadAssignmentMessage, endpoints)];
}

/** What Envoy is started with; `cluster` makes it another one. */
export function liveBootstrap({ cluster = 'test' }: { cluster?: string } = {}): Buffer {
  const http2 = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
  const bootstrap = {
    node: { id: 'test', cluster },
    admin: { address: { pipe: { path: ADMIN_SOCKET, mode: 0o600 } } },
    dynamic_resources: {
      ads_config: {
        api_type: 'DELTA_GRPC',
        transport_api_version: 'V3',
        grpc_services: [
          { envoy_grpc: { cluster_name: 'xds', retry_policy: { retry_back_off: { base_interval: '0.1s', max_interval: '1s' } } } },
        ],
      },
      cds_config: { ...ADS, initial_fetch_timeout: '0s' },
      lds_config: { ...ADS, initial_fetch_timeout: '0s' },
    },
    static_resources: {
      clusters: [
        {
          name: 'xds',
          type: 'STATIC',
          connect_timeout: '1s',
          typed_extension_protocol_options: {
            [http2]: { '@type': `type.googleapis.com/${http2}`, explicit_http_config: { http2_protocol_options: {} } },
          },
          load_assignment: {
            cluster_name: 'xds',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: XDS_SOCKET } } } }] }],
          },
        },
      ],
    },
  };
  return Buffer.from(JSON.stringify(bootstrap));
}

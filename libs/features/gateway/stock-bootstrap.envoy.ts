import type { JsonObject } from '#platform/kernel/json.js';

import { toLiveBootstrap } from './gateway.envoy.js';

/** An Envoy without an agent, and how it reaches a worker. */
export interface StockEnvoy {
  readonly gateway: string;
  /** Its name as a target. */
  readonly node: string;
  readonly worker: { readonly host: string; readonly port: number; readonly isAddress: boolean };
  readonly protocol: 'delta' | 'sotw';
  /** Shown to the worker, where there is no certificate. */
  readonly token: string | undefined;
  /** Files on the node: the authorities of the worker's certificate, and its own certificate with the key. */
  readonly tls: { readonly ca: string; readonly certificate: string; readonly key: string } | undefined;
  /** A loopback port for Envoy's admin interface; undefined: none. */
  readonly adminPort: number | undefined;
}

/** The bootstrap of an Envoy that dials a worker itself: that of a live target, with the worker where the agent's socket is. */
export function toStockBootstrap(envoy: StockEnvoy): JsonObject {
  const { admin: _own, ...live } = toLiveBootstrap(envoy.gateway);
  const [stream, ...others] = live.static_resources.clusters;
  if (stream === undefined) throw new Error('a live bootstrap has the cluster of its stream');
  const { ads_config } = live.dynamic_resources;
  const metadata = envoy.token === undefined ? {} : { initial_metadata: [{ key: 'authorization', value: `Bearer ${envoy.token}` }] };
  const bootstrap = {
    ...live,
    node: { id: envoy.node, cluster: envoy.gateway },
    ...(envoy.adminPort === undefined ? {} : { admin: { address: address('127.0.0.1', envoy.adminPort) } }),
    static_resources: { clusters: [toWorker(stream, envoy), ...others] },
    dynamic_resources: {
      ...live.dynamic_resources,
      ads_config: {
        ...ads_config,
        api_type: envoy.protocol === 'delta' ? 'DELTA_GRPC' : 'GRPC',
        grpc_services: ads_config.grpc_services.map((service) => ({ ...service, ...metadata })),
      },
    },
  };
  return JSON.parse(JSON.stringify(bootstrap)) as JsonObject; // typed as Envoy's, said as JSON
}

function toWorker(stream: object & { readonly name: string }, { worker, tls }: StockEnvoy): object {
  return {
    ...stream,
    type: worker.isAddress ? 'STATIC' : 'STRICT_DNS',
    load_assignment: {
      cluster_name: stream.name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: address(worker.host, worker.port) } }] }],
    },
    // A worker that is gone without a word is noticed by it, and another connection is made.
    upstream_connection_options: { tcp_keepalive: { keepalive_time: 10, keepalive_interval: 5, keepalive_probes: 3 } },
    ...(tls === undefined ? {} : { transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: toTls(worker, tls) } }),
  };
}

function toTls(worker: StockEnvoy['worker'], tls: NonNullable<StockEnvoy['tls']>): object {
  return {
    '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
    ...(worker.isAddress ? {} : { sni: worker.host }),
    common_tls_context: {
      alpn_protocols: ['h2'],
      tls_params: { tls_minimum_protocol_version: 'TLSv1_2' },
      tls_certificates: [{ certificate_chain: { filename: tls.certificate }, private_key: { filename: tls.key } }],
      validation_context: {
        trusted_ca: { filename: tls.ca },
        match_typed_subject_alt_names: [{ san_type: worker.isAddress ? 'IP_ADDRESS' : 'DNS', matcher: { exact: worker.host } }],
      },
    },
  };
}

function address(host: string, port: number): object {
  return { socket_address: { address: host, port_value: port } };
}

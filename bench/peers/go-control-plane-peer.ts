import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { findFreePort } from '#platform/network/listening-port.js';

import { StartedProcess, untilSo } from '../machine/started-process.js';
import { startEnvoy } from './bare-envoy.js';
import { type Contender, missingPeerBinary, order, type Peer, pathOf, peerBinary, routeHeader, type Site } from './contender.js';
import { untilServing } from './probe.js';
import { shardsFor } from './stub-peer.js';

export const goControlPlane: Peer = {
  name: 'go-control-plane',
  note: 'its snapshot cache, delta ADS, one RouteConfiguration as in its own examples, one shared cluster; nothing is stored',
  mostRoutes: 10_000,
  missing: () => missingPeerBinary('gcp'),
  start: (site) => startGoControlPlane(site, 0),
};

export const goControlPlaneScoped: Peer = {
  ...goControlPlane,
  name: 'go-control-plane-scoped',
  note: 'the same cache and server with the routes laid out as Chancery and the stub do',
  mostRoutes: 100_000,
  start: (site) => startGoControlPlane(site, shardsFor(site.routes)),
};

async function startGoControlPlane(site: Site, scopes: number): Promise<Contender> {
  const ports = new Set<number>();
  for (let n = 0; n < 3; n++) ports.add(await findFreePort(ports));
  const [xds, admin, listen] = [...ports] as [number, number, number];
  const words = { n: site.routes, scopes, xds: `127.0.0.1:${xds}`, admin: `127.0.0.1:${admin}`, listen, upstream: site.upstreamPort };
  const server = new StartedProcess({
    command: peerBinary('gcp') ?? '',
    words: Object.entries(words).map(([name, value]) => `-${name}=${value}`),
    ...{ folder: site.folder, name: 'go-control-plane' },
  });
  await untilSo('go-control-plane is ready', () => server.said().includes('ready'), { of: server });
  writeFileSync(join(site.folder, 'gcp.json'), JSON.stringify(adsBootstrap(xds)));
  const envoy = startEnvoy(site, 'gcp.json');
  const put = (route: number, revision: string) =>
    order(`http://127.0.0.1:${admin}/route/${route}?rev=${revision}`, { method: 'PUT' }).then(() => undefined);
  const contender: Contender = {
    host: '127.0.0.1',
    port: listen,
    answer: routeHeader,
    create: put,
    update: put,
    remove: (route) => order(`http://127.0.0.1:${admin}/route/${route}`, { method: 'DELETE' }).then(() => undefined),
    control: [server.pid],
    data: [envoy.pid],
    async stop() {
      await envoy.stop();
      await server.stop();
    },
  };
  await untilServing(contender, { route: site.routes - 1, path: pathOf(site.routes - 1) });
  return contender;
}

/** An Envoy that gets everything over delta ADS on this port. Statistics of scopes are left out, as in the stub's bootstrap and in Chancery's. */
function adsBootstrap(xdsPort: number): unknown {
  const ads = { ads: {}, resource_api_version: 'V3' };
  const options = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
  const address = { socket_address: { address: '127.0.0.1', port_value: xdsPort } };
  return {
    node: { id: 'n1', cluster: 'bench' },
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
    stats_config: { stats_matcher: { exclusion_list: { patterns: [{ safe_regex: { regex: '.*(rds|scoped_rds|vhost)\\..*' } }] } } },
    dynamic_resources: {
      ads_config: { api_type: 'DELTA_GRPC', transport_api_version: 'V3', grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }] },
      cds_config: ads,
      lds_config: ads,
    },
    static_resources: {
      clusters: [
        {
          name: 'xds',
          type: 'STATIC',
          connect_timeout: '1s',
          typed_extension_protocol_options: {
            [options]: { '@type': `type.googleapis.com/${options}`, explicit_http_config: { http2_protocol_options: {} } },
          },
          load_assignment: { cluster_name: 'xds', endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
        },
      ],
    },
  };
}

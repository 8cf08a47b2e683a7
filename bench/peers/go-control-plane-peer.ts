import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { type Contender, missingPeerBinary, type Peer, type Site } from './contender.js';
import { shardsFor } from './stub-peer.js';
import { startTriggered } from './triggered-peer.js';

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

function startGoControlPlane(site: Site, scopes: number): Promise<Contender> {
  return startTriggered(site, {
    name: 'go-control-plane',
    binary: 'gcp',
    words: ({ xds, trigger, listen }) => ({
      n: site.routes,
      scopes,
      xds: `127.0.0.1:${xds}`,
      admin: `127.0.0.1:${trigger}`,
      listen,
      upstream: site.upstreamPort,
    }),
    envoyConfig: ({ xds }) => {
      writeFileSync(join(site.folder, 'gcp.json'), JSON.stringify(adsBootstrap(xds)));
      return 'gcp.json';
    },
  });
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

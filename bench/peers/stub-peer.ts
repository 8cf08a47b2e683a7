import { join } from 'node:path';

import { findFreePort } from '#platform/network/listening-port.js';

import { StartedProcess, untilSo } from '../machine/started-process.js';
import { startEnvoy } from './bare-envoy.js';
import { type Contender, missingPeerBinary, order, type Peer, pathOf, peerBinary, routeHeader, type Site } from './contender.js';
import { untilServing } from './probe.js';

/** About 64 routes in a shard, and a power of two, as Chancery has it. */
export function shardsFor(routes: number): number {
  return 2 ** Math.max(0, Math.round(Math.log2(routes / 64)));
}

/** The limit: bytes that were encoded before, pushed to the same Envoy in the same layout by a server that stores nothing. */
export const stub: Peer = {
  name: 'stub',
  note: 'the limit: pre-encoded bytes in the same layout to the same Envoy, stored nowhere',
  mostRoutes: Number.POSITIVE_INFINITY,
  missing: () => missingPeerBinary('limitpeer'),
  start: startStub,
};

async function startStub(site: Site): Promise<Contender> {
  const ports = new Set<number>();
  for (let n = 0; n < 3; n++) ports.add(await findFreePort(ports));
  const [xds, trigger, listen] = [...ports] as [number, number, number];
  const words = {
    layout: 'srds-hash',
    n: site.routes,
    shards: shardsFor(site.routes),
    bootstrap: join(site.folder, 'stub.yaml'),
    listen,
    upstream: site.upstreamPort,
    xds: `127.0.0.1:${xds}`,
    http: `127.0.0.1:${trigger}`,
  };
  const server = new StartedProcess({
    command: peerBinary('limitpeer') ?? '',
    words: Object.entries(words).map(([name, value]) => `-${name}=${value}`),
    ...{ folder: site.folder, name: 'stub' },
  });
  await untilSo('the stub is ready', () => server.said().includes('ready'), { of: server });
  const envoy = startEnvoy(site, 'stub.yaml');
  const put = (route: number, revision: string) =>
    order(`http://127.0.0.1:${trigger}/route/${route}?rev=${revision}`, { method: 'PUT' }).then(() => undefined);
  const contender: Contender = {
    host: '127.0.0.1',
    port: listen,
    answer: routeHeader,
    create: put,
    update: put,
    remove: (route) => order(`http://127.0.0.1:${trigger}/route/${route}`, { method: 'DELETE' }).then(() => undefined),
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

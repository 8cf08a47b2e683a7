import { join } from 'node:path';

import { type Contender, missingPeerBinary, type Peer, type Site } from './contender.js';
import { startTriggered } from './triggered-peer.js';

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
  start: (site) => startStub(site),
};

/** @param front as of startTriggered */
export function startStub(site: Site, front?: (trigger: string) => Promise<string>): Promise<Contender> {
  const config = 'stub.yaml';
  return startTriggered(site, {
    name: 'stub',
    binary: 'limitpeer',
    words: ({ xds, trigger, listen }) => ({
      layout: 'srds-hash',
      n: site.routes,
      shards: shardsFor(site.routes),
      bootstrap: join(site.folder, config),
      listen,
      upstream: site.upstreamPort,
      xds: `127.0.0.1:${xds}`,
      http: `127.0.0.1:${trigger}`,
    }),
    envoyConfig: () => config, // the stub writes it
    ...(front === undefined ? {} : { front }),
  });
}

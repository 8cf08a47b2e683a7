import { renameSync } from 'node:fs';
import { join } from 'node:path';

import type { Site } from '../peers/contender.js';
import { startStandalone, writeDocuments } from '../peers/envoy-gateway-file-peer.js';
import { httpRoute } from '../peers/envoy-gateway-objects.js';
import { untilAllLive } from './all-live.js';

/** Milliseconds from the rename of one file with all routes at another revision until all of them serve it, by Envoy Gateway's file provider. */
export async function measureOneBigFile(site: Site): Promise<number> {
  const gateway = await startStandalone(site);
  try {
    const staged = join(site.folder, 'stage/routes.yaml');
    writeDocuments(
      staged,
      Array.from({ length: site.routes }, (_, route) => httpRoute(route, 'v1')),
    );
    const began = performance.now();
    renameSync(staged, join(site.folder, 'watched/routes.yaml'));
    await untilAllLive(gateway, site.routes, 'v1');
    return performance.now() - began;
  } finally {
    await gateway.stop();
  }
}

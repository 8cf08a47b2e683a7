import { rmSync } from 'node:fs';

import { GrpcServer } from '#platform/grpc/grpc-server.js';

import { ADS_MESSAGE_BYTES, type AdsMethods, adsService } from './ads-endpoint.js';
import { encodeDeltaResponse } from './resource.js';

/**
 * ADS on a Unix socket, for the Envoy of the same machine. A socket that an earlier process left is taken over; who may connect is for the folder to say.
 * @throws Error when the socket cannot be made.
 */
export async function serveAds(socketPath: string, methods: AdsMethods): Promise<{ close(): void }> {
  rmSync(socketPath, { force: true });
  const server = await GrpcServer.listen({ path: socketPath }, { methods: adsService(methods), maxMessageBytes: ADS_MESSAGE_BYTES });
  return { close: () => server.destroy() };
}

/** ADS that has nothing: each type that is asked for is answered once, empty, so that an Envoy comes up without listeners and clusters. */
export function serveNothing(socketPath: string): Promise<{ close(): void }> {
  return serveAds(socketPath, {
    delta(call) {
      const answered = new Set<string>();
      call.listen({
        message({ typeUrl }) {
          if (answered.has(typeUrl)) return;
          answered.add(typeUrl);
          call.write(encodeDeltaResponse({ typeUrl, nonce: '1', resources: [], removed: [] }));
        },
        halfClosed: () => call.end(),
        closed: () => undefined,
      });
    },
    // Our configurations ask for changes only; one that does not finds nobody here, and its shadow does not come up.
    sotw: (call) => call.end(),
  });
}

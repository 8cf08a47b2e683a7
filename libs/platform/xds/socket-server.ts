import { rmSync } from 'node:fs';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { adsServerOptions, adsService } from './ads-endpoint.js';
import type { DeltaCall, SotwCall } from './envoy-session.js';
import type { DeltaDiscoveryRequest } from './generated/discovery.js';
import { encodeDeltaResponse } from './resource.js';

/** What answers a stream. */
export interface AdsMethods {
  deltaAggregatedResources(call: DeltaCall): void;
  streamAggregatedResources(call: SotwCall): void;
}

/**
 * ADS on a Unix socket, for the Envoy of the same machine. A socket that an earlier process left is taken over; who may connect is for the folder to say.
 * @throws Error when the socket cannot be made.
 */
export async function serveAds(socketPath: string, methods: AdsMethods): Promise<{ close(): void }> {
  rmSync(socketPath, { force: true });
  const server = new Server(adsServerOptions());
  server.addService(adsService, { ...methods });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) => (error === null ? resolve() : reject(error)));
  });
  return { close: () => server.forceShutdown() };
}

/** ADS that has nothing: each type that is asked for is answered once, empty, so that an Envoy comes up without listeners and clusters. */
export function serveNothing(socketPath: string): Promise<{ close(): void }> {
  return serveAds(socketPath, {
    deltaAggregatedResources(call) {
      const answered = new Set<string>();
      call.on('error', () => {}); // it has gone
      call.on('data', ({ typeUrl }: DeltaDiscoveryRequest) => {
        if (answered.has(typeUrl)) return;
        answered.add(typeUrl);
        call.write(encodeDeltaResponse({ typeUrl, nonce: '1', resources: [], removed: [] }));
      });
      call.on('end', () => call.end());
    },
    // Our configurations ask for changes only; one that does not finds nobody here, and its shadow does not come up.
    streamAggregatedResources: (call) => call.end(),
  });
}

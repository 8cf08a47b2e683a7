import { mkdtempSync, rmSync } from 'node:fs';
import { type Agent, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { defaultSettings, type GatewaySettings } from '#features/gateway/gateway.js';
import { type Answer, ask, type RunningEnvoy, startEnvoy } from '#features/rollout/running-envoy.fixture.js';
import { ADS_SOCKET } from '#platform/envoy/model/reserved.js';
import { waitUntil } from '#platform/envoy/wait-until.js';
import { GrpcServer } from '#platform/grpc/grpc-server.js';
import { createLog } from '#platform/log/log.js';
import { ADS_MESSAGE_BYTES, AdsEndpoint, adsService } from '#platform/xds/ads-endpoint.js';
import type { Rejection } from '#platform/xds/envoy-session.js';
import { ResourceSet } from '#platform/xds/resource-set.js';
import { CLUSTER_TYPE, ENDPOINT_TYPE, type ResourceChange, type XdsResource } from '#platform/xds/xds-resource.js';

import type { LiveTable } from './live-table.js';
import { type ListenerSecrets, nodeResources } from './node-resources.js';
import { endpointResource } from './upstream-resources.js';

export const proofSecret = 'proof " of \\ this % node';

/** A real Envoy whose table comes over ADS on a Unix socket, through the sequencer that the product uses. */
export interface LiveEnvoy {
  readonly envoy: RunningEnvoy;
  readonly set: ResourceSet;
  readonly marker: string;
  readonly rejections: readonly Rejection[];
  /** Applies a change with the endpoints of its clusters, makes the node's resources anew, and waits until all of it is acknowledged. */
  apply(change: ResourceChange): Promise<void>;
  /** All changes of the table, one after the other. */
  settle(): Promise<void>;
  get(
    path: string,
    options?: { readonly method?: string; readonly headers?: Readonly<Record<string, string | readonly string[]>>; readonly agent?: Agent },
  ): Promise<Answer>;
  stop(): Promise<void>;
}

/** What its TLS listener has: read anew with every change. */
export interface LiveTls {
  policy: GatewaySettings['tls'];
  secrets: ListenerSecrets;
  principals?: readonly string[];
  /** In the set from the start. */
  readonly resources: readonly XdsResource[];
}

const noTls: LiveTls = { policy: defaultSettings.tls, secrets: { certificates: [], tickets: false }, resources: [] };

/** Starts one with what the table holds. `upstream` is where every cluster leads. */
export async function startLiveEnvoy(table: LiveTable, upstream: number, tls: LiveTls = noTls): Promise<LiveEnvoy> {
  const folder = mkdtempSync(join(tmpdir(), 'chancery-live-'));
  const set = new ResourceSet();
  const rejections: Rejection[] = [];
  const here = { address: '127.0.0.1', port: 0 };
  const node = () =>
    nodeResources({
      gateway: 'default',
      settings: { ...defaultSettings, http: here, tls: tls.policy },
      secrets: tls.secrets,
      principals: tls.principals ?? null,
      node: { http: null, https: tls.secrets.certificates.length === 0 ? null : here, proofSecret },
      phases: table.phases,
    });
  const put = (change: ResourceChange) => {
    const clusters = change.upserts.filter(({ typeUrl }) => typeUrl === CLUSTER_TYPE);
    const endpoints = clusters.map(({ name }) =>
      endpointResource(name, [{ address: '127.0.0.1', port: upstream }], { allowLoopbackUpstreams: true }),
    );
    const gone = change.removed.filter(({ typeUrl }) => typeUrl === CLUSTER_TYPE).map(({ name }) => ({ typeUrl: ENDPOINT_TYPE, name }));
    set.apply({ upserts: [...change.upserts, ...endpoints, ...node().overlay], removed: [...change.removed, ...gone] });
  };
  let settled = -1;
  const endpoint = new AdsEndpoint({
    log: createLog({ process: 'test', level: 'silent' }),
    open: async () => ({
      sets: [set],
      onRejected: (rejection) => rejections.push(rejection),
      onHeldBack: () => undefined,
      onSettled: (revision) => {
        settled = revision;
      },
      onClosed: () => undefined,
    }),
  });
  const socket = join(folder, 's');
  const server = await GrpcServer.listen({ path: socket }, { methods: adsService(endpoint), maxMessageBytes: ADS_MESSAGE_BYTES });
  const wait = async () => {
    const done = await waitUntil(() => (settled >= set.revision ? true : null), { timeoutMs: 10_000, everyMs: 1 });
    if (done === null) throw new Error(`not settled: ${settled} of ${set.revision}; ${JSON.stringify(rejections)}`);
  };
  const apply = async (change: ResourceChange) => {
    put(change);
    endpoint.update();
    await wait();
  };
  put({ upserts: tls.resources, removed: [] });
  do put(table.changes());
  while (table.unfinished);
  const bootstrap = node().bootstrap.toString().replace(`"${ADS_SOCKET}"`, JSON.stringify(socket));
  const envoy = await startEnvoy(Buffer.from(bootstrap), new Map());
  await wait();
  const port = envoy.ports.get('http') ?? 0;
  return {
    envoy,
    set,
    marker: node().marker,
    rejections,
    apply,
    async settle() {
      do await apply(table.changes());
      while (table.unfinished);
    },
    get: (path, options) => ask({ port, path, ...options }),
    async stop() {
      await envoy.stop();
      server.destroy();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** An upstream that answers with what reached it. */
export async function startEcho(): Promise<{ readonly port: number; close(): void }> {
  const server = createServer((request, response) => response.end(JSON.stringify({ url: request.url, headers: request.headers })));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { port: (server.address() as AddressInfo).port, close: () => server.close() };
}

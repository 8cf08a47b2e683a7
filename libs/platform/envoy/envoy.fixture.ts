import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { installEnvoy } from './binary.js';
import { configFile } from './epoch-start.js';
import { EnvoySupervisor, type SupervisorOptions } from './hot-restart.js';
import { findEpochs } from './launcher.js';
import { ADMIN_SOCKET, type NodeFolder, openNodeFolder } from './node-folder.js';
import { signalProcess } from './process-identity.js';
import type { EpochConfig } from './recovery-plan.js';
import { removeSharedMemory } from './shared-memory.js';

/*
 * For tests and benches on the real Envoy: a node folder of its own, small configurations with a marker, and an end that leaves no
 * process and no shared memory behind.
 */

/** The binary for tests: ENVOY_PATH, PATH, the checkout's cache, or downloaded into it once. */
export async function testEnvoy(): Promise<string> {
  const cacheDir = join(process.env.CHANCERY_CACHE ?? join(checkout(), '.cache'), 'envoy');
  const { path } = await installEnvoy({ cacheDir, envoyPath: process.env.ENVOY_PATH, searchPath: process.env.PATH });
  return path;
}

/** The nearest folder above with a package.json: this file runs from its source in tests and from dist/ in benches. */
function checkout(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

export interface Node {
  readonly folder: NodeFolder;
  readonly binary: string;
  readonly port: number;
  /** Writes a configuration that answers every path with the key itself, and answers its descriptor. */
  config(
    key: string,
    options?: { drainTimeS?: number; parentShutdownTimeS?: number; change?: (bootstrap: Bootstrap) => unknown },
  ): EpochConfig;
  /** Writes these bytes as a configuration, whatever they are. */
  rawConfig(key: string, bytes: string): EpochConfig;
  supervisor(options?: Partial<SupervisorOptions>): EnvoySupervisor;
  dispose(): Promise<void>;
}

// biome-ignore lint/suspicious/noExplicitAny: tests bend it in every way
export type Bootstrap = any;

export async function createNode(): Promise<Node> {
  const folder = openNodeFolder(mkdtempSync(join(tmpdir(), 'chancery-envoy-')));
  const binary = await testEnvoy();
  const port = await freePort();
  const rawConfig = (key: string, bytes: string, window = { drainTimeS: 1, parentShutdownTimeS: 2 }): EpochConfig => {
    writeFileSync(join(folder.path, configFile(key)), bytes, { mode: 0o600 });
    return { key, ...window };
  };
  return {
    folder,
    binary,
    port,
    rawConfig,
    config(key, { drainTimeS = 1, parentShutdownTimeS = 2, change = () => undefined } = {}) {
      const bootstrap = markerBootstrap(port, key);
      return rawConfig(key, JSON.stringify(change(bootstrap) ?? bootstrap), { drainTimeS, parentShutdownTimeS });
    },
    supervisor: (options = {}) => new EnvoySupervisor({ folder, binary, concurrency: 2, ...options }),
    async dispose() {
      for (const cwd of [folder.path, folder.shadow]) {
        for (const { process: found, baseId } of await findEpochs(cwd)) {
          signalProcess(found, 'SIGKILL');
          removeSharedMemory(baseId);
        }
      }
      rmSync(folder.path, { recursive: true, force: true });
    },
  };
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** The smallest configuration that serves: every path is answered with the marker. */
export function markerBootstrap(port: number, marker: string): Bootstrap {
  return {
    node: { id: 'test', cluster: 'test' },
    admin: { address: { pipe: { path: ADMIN_SOCKET, mode: 0o600 } } },
    static_resources: {
      listeners: [listener(port, marker)],
      clusters: [],
    },
  };
}

function listener(port: number, marker: string) {
  return {
    name: 'http',
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [
      {
        filters: [
          {
            name: 'envoy.filters.network.http_connection_manager',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
              stat_prefix: 'ingress_http',
              common_http_protocol_options: { idle_timeout: '0.5s' },
              route_config: {
                name: 'routes',
                virtual_hosts: [
                  {
                    name: 'all',
                    domains: ['*'],
                    routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: marker } } }],
                  },
                ],
              },
              http_filters: [
                {
                  name: 'envoy.filters.http.router',
                  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
                },
              ],
            },
          },
        ],
      },
    ],
  };
}

/** Accepts connections and never says a word. */
export async function muteServer(): Promise<{ port: number; close(): void }> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return {
    port,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** A configuration whose clusters come from a server that never answers: Envoy stays in initialization. */
export function waitForever(bootstrap: Bootstrap, port: number): void {
  bootstrap.static_resources.clusters.push({
    name: 'mute',
    type: 'STATIC',
    connect_timeout: '5s',
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
    load_assignment: {
      cluster_name: 'mute',
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } }] }],
    },
  });
  bootstrap.dynamic_resources = {
    cds_config: {
      resource_api_version: 'V3',
      initial_fetch_timeout: '0s',
      api_config_source: { api_type: 'GRPC', transport_api_version: 'V3', grpc_services: [{ envoy_grpc: { cluster_name: 'mute' } }] },
    },
  };
}

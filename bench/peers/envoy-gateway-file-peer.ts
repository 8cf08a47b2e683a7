import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { StartedProcess } from '../machine/started-process.js';
import { type Contender, missingPeerBinary, type Peer, pathOf, peerBinary, routeHeader, type Site } from './contender.js';
import { controllerConfig, GATEWAY_PORT, gatewayObjects, httpRoute } from './envoy-gateway-objects.js';
import { untilServing } from './probe.js';

/** It validates every document again at every change: not the fair form of Envoy Gateway, and reported apart. */
export const envoyGatewayStandalone: Peer = {
  name: 'envoy-gateway-standalone',
  note: 'its file provider: one HTTPRoute as a file, renamed into the folder that it watches; there is no answer that says it was taken',
  mostRoutes: 10,
  missing({ ownAddress }) {
    if (ownAddress === undefined) return 'it has fixed ports: needs a network of its own (Linux, root)';
    return missingPeerBinary('envoy-gateway');
  },
  start: (site) => startStandalone(site),
};

/** @param deadlineMs It takes a minute and a half to start with 1,000 routes. */
export async function startStandalone(site: Site, deadlineMs = 600_000): Promise<Contender> {
  const { folder, routes, upstreamPort } = site;
  const [watched, stage, home] = ['watched', 'stage', 'home'].map((name) => join(folder, name)) as [string, string, string];
  for (const each of [watched, stage, join(home, 'config'), join(home, 'data/envoy-versions/1.40.0/bin')])
    mkdirSync(each, { recursive: true });
  symlinkSync(site.envoy, join(home, 'data/envoy-versions/1.40.0/bin/envoy')); // it looks there before it downloads one
  const provider = { type: 'Host', host: { envoyVersion: '1.40.0' } };
  writeDocuments(join(watched, 'gateway.yaml'), Object.values(gatewayObjects({ address: '127.0.0.1', port: upstreamPort, provider })));
  writeDocuments(
    join(watched, 'routes.yaml'),
    Array.from({ length: routes }, (_, route) => httpRoute(route, 'v0')),
  );
  const infrastructure = {
    type: 'Host',
    host: { configHome: join(home, 'config'), dataHome: join(home, 'data'), stateHome: join(home, 'state'), runtimeDir: join(home, 'run') },
  };
  const custom = { resource: { type: 'File', file: { paths: [watched] } }, infrastructure };
  writeFileSync(join(folder, 'controller.yaml'), JSON.stringify(controllerConfig({ type: 'Custom', custom })));
  const binary = peerBinary('envoy-gateway') ?? '';
  execFileSync(binary, ['certgen', '--local', '--config-home', join(home, 'config')], {
    stdio: 'pipe',
    env: { HOME: folder, PATH: process.env.PATH ?? '' },
  });
  const controller = new StartedProcess({
    command: binary,
    words: ['server', '--config-path', join(folder, 'controller.yaml')],
    ...{ folder, name: 'envoy-gateway' },
  });
  const write = async (route: number, revision: string) => {
    writeDocuments(join(stage, `svc${route}.yaml`), [httpRoute(route, revision)]);
    renameSync(join(stage, `svc${route}.yaml`), join(watched, `svc${route}.yaml`));
  };
  const contender: Contender = {
    host: '127.0.0.1',
    port: GATEWAY_PORT,
    answer: routeHeader,
    create: write,
    update: write,
    remove: async (route) => rmSync(join(watched, `svc${route}.yaml`)),
    control: [controller.pid],
    data: [],
    stop: () => controller.stop('SIGTERM', 20_000),
  };
  try {
    await untilServing(contender, { route: routes - 1, path: pathOf(routes - 1), deadlineMs });
    return contender;
  } catch (error) {
    await contender.stop();
    throw error;
  }
}

/** JSON is YAML; one document for each object. */
export function writeDocuments(file: string, objects: readonly unknown[]): void {
  writeFileSync(file, objects.map((object) => JSON.stringify(object)).join('\n---\n'));
}

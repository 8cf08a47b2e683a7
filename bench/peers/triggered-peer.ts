import { findFreePort } from '#platform/network/listening-port.js';

import { StartedProcess, untilSo } from '../machine/started-process.js';
import { startEnvoy } from './bare-envoy.js';
import { type Contender, order, pathOf, peerBinary, routeHeader, type Site } from './contender.js';
import { untilServing } from './probe.js';

/** The ports of loopback that an xDS server with a trigger and its Envoy get. */
export interface TriggeredPorts {
  readonly xds: number;
  readonly trigger: number;
  readonly listen: number;
}

/** A server of ours that speaks xDS and pushes when it is told over HTTP: `PUT /route/N?rev=R`, `DELETE /route/N`. */
export interface TriggeredServer {
  readonly name: string;
  /** Its program among the peers' binaries. */
  readonly binary: string;
  /** Its flags. */
  words(ports: TriggeredPorts): Readonly<Record<string, string | number>>;
  /** The configuration of its Envoy, a file in the site's folder. Called when the server is ready. */
  envoyConfig(ports: TriggeredPorts): string;
  /** What is put before its trigger: gets where that is, and says where changes are to be sent instead. */
  front?(trigger: string): Promise<string>;
}

/** Starts the server and an Envoy that has its configuration from it; resolves when the last route is served. */
export async function startTriggered(site: Site, { name, binary, words, envoyConfig, front }: TriggeredServer): Promise<Contender> {
  const free = new Set<number>();
  for (let n = 0; n < 3; n++) free.add(await findFreePort(free));
  const [xds, trigger, listen] = [...free] as [number, number, number];
  const ports = { xds, trigger, listen };
  const server = new StartedProcess({
    command: peerBinary(binary) ?? '',
    words: Object.entries(words(ports)).map(([flag, value]) => `-${flag}=${value}`),
    ...{ folder: site.folder, name },
  });
  await untilSo(`${name} is ready`, () => server.said().includes('ready'), { of: server });
  const envoy = startEnvoy(site, envoyConfig(ports));
  const own = `http://127.0.0.1:${trigger}`;
  const told = front === undefined ? own : await front(own);
  const tell = (method: string, path: string) => order(`${told}/route/${path}`, { method }).then(() => undefined);
  const put = (route: number, revision: string) => tell('PUT', `${route}?rev=${revision}`);
  const contender: Contender = {
    host: '127.0.0.1',
    port: listen,
    answer: routeHeader,
    create: put,
    update: put,
    remove: (route) => tell('DELETE', String(route)),
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

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { findFreePort } from '#platform/network/listening-port.js';

import { StartedProcess, untilSo } from '../machine/started-process.js';
import { order, peerBinary, type Site } from '../peers/contender.js';
import { mappingOf, startProduct } from '../peers/product.js';
import { shardsFor } from '../peers/stub-peer.js';
import type { FleetOptions, Trigger } from './fleet.js';

/** A delta ADS server with a table of routes. */
export interface AdsServer {
  readonly name: string;
  readonly xds: string;
  /** What its clients must say. */
  readonly identity: Pick<FleetOptions, 'nodes' | 'cluster'>;
  /** The process that holds the streams. */
  pid(): number;
  /** One change of route 0. */
  trigger(revision: string): Trigger;
  /** Kills the process that holds the streams; resolves when it is dead. A change that `trigger` describes can be sent as soon as `back` resolves. */
  kill(): Promise<{ readonly back: Promise<void> }>;
  stop(): Promise<void>;
}

/** @param scoped Laid out as Chancery does; otherwise one RouteConfiguration. */
export async function startGoControlPlaneServer({ folder, routes }: Pick<Site, 'folder' | 'routes'>, scoped: boolean): Promise<AdsServer> {
  const xdsPort = await findFreePort(new Set());
  const admin = await findFreePort(new Set([xdsPort]));
  const words = [`-n=${routes}`, `-scopes=${scoped ? shardsFor(routes) : 0}`, `-xds=127.0.0.1:${xdsPort}`, `-admin=127.0.0.1:${admin}`];
  const start = async () => {
    const server = new StartedProcess({ command: peerBinary('gcp') ?? '', words, folder, name: 'go-control-plane' });
    await untilSo('go-control-plane is ready', () => server.said().includes('ready'), { of: server, everyMs: 2 });
    return server;
  };
  let server = await start();
  const url = (revision: string) => `http://127.0.0.1:${admin}/route/0?rev=${revision}`;
  return {
    name: scoped ? 'go-control-plane-scoped' : 'go-control-plane',
    xds: `127.0.0.1:${xdsPort}`,
    identity: {},
    pid: () => server.pid,
    trigger: (revision) => ({ needle: `r0-${revision}`, method: 'PUT', url: url(revision), headers: {}, body: '' }),
    async kill() {
      await server.stop('SIGKILL');
      const back = start().then((started) => {
        server = started;
      });
      return { back };
    },
    stop: () => server.stop(),
  };
}

/** This product: the clients are stock Envoys of the gateway `default`, each a target with a token of its own. */
export async function startProductServer(site: Site, mostClients: number): Promise<AdsServer> {
  const product = await startProduct(site);
  const { dev } = product;
  const nodes = join(site.folder, 'nodes');
  const lines: string[] = [];
  for (let n = 1; n <= mostClients; n++) {
    const target = `fleet-${n}`;
    const made = await product.call('../../tokens', {
      method: 'POST',
      body: JSON.stringify({ name: `of ${target}`, scopes: [`agent:${target}`] }),
    });
    lines.push(`${target} ${(JSON.parse(made) as { token: string }).token}`);
  }
  writeFileSync(nodes, `${lines.join('\n')}\n`, { mode: 0o600 });
  const house = readFileSync(`/proc/${dev.pidOf('agent')}/environ`, 'utf8').split('\0');
  const worker = house.find((entry) => entry.startsWith('CHANCERY_AGENT_WORKER='))?.split('=')[1] ?? '';
  return {
    name: 'chancery',
    xds: worker,
    identity: { nodes, cluster: 'default' },
    pid: () => dev.pidOf('worker'),
    trigger: (revision) => ({
      needle: `svc0-${revision}/`,
      method: 'PUT',
      url: `${dev.ready.api}/v1/gateways/default/mappings/svc0`,
      headers: { authorization: `Bearer ${dev.ready.token}`, 'content-type': 'application/json' },
      body: JSON.stringify(mappingOf(0, revision, site.upstreamPort)),
    }),
    async kill() {
      void dev.killAndAwait('worker').catch(() => undefined); // whether it is back is seen by the fleet
      return { back: Promise.resolve() }; // the API takes changes all the time
    },
    stop: () => product.stop(),
  };
}

/** Sends a change that the fleet does not. */
export async function send({ method, url, headers, body }: Trigger): Promise<void> {
  await order(url, { method, headers, ...(body === '' ? {} : { body }) });
}

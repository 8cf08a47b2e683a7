import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { findFreePort } from '#platform/network/listening-port.js';

import { StartedProcess } from '../machine/started-process.js';
import { type Contender, missingPeerBinary, order, type Peer, pathOf, peerBinary, routeHeader, type Site } from './contender.js';
import { untilServing } from './probe.js';

export const caddy: Peer = {
  name: 'caddy',
  note: 'its admin API, one route by PUT, PATCH, DELETE; in memory only',
  mostRoutes: 10_000,
  missing: () => missingPeerBinary('caddy'),
  start: startCaddy,
};

async function startCaddy(site: Site): Promise<Contender> {
  const ports = new Set<number>();
  for (let n = 0; n < 2; n++) ports.add(await findFreePort(ports));
  const [listen, admin] = [...ports] as [number, number];
  const server = runCaddy(site.folder, caddyConfig(site, { listen, admin, routes: site.routes }));
  const api = `http://127.0.0.1:${admin}`;
  const headers = { 'content-type': 'application/json' };
  const body = (route: number, revision: string) => JSON.stringify(caddyRoute(route, revision, site.upstreamPort));
  const contender: Contender = {
    host: '127.0.0.1',
    port: listen,
    answer: routeHeader,
    create: (route, revision) =>
      order(`${api}/config/apps/http/servers/s/routes/0`, { method: 'PUT', headers, body: body(route, revision) }).then(() => undefined),
    update: (route, revision) =>
      order(`${api}/id/svc${route}`, { method: 'PATCH', headers, body: body(route, revision) }).then(() => undefined),
    remove: (route) => order(`${api}/id/svc${route}`, { method: 'DELETE' }).then(() => undefined),
    control: [],
    data: [server.pid],
    stop: () => server.stop(),
  };
  await untilServing(contender, { route: site.routes - 1, path: pathOf(site.routes - 1) });
  return contender;
}

/** Starts Caddy with a configuration. */
export function runCaddy(folder: string, config: unknown): StartedProcess {
  const file = join(folder, 'caddy.json');
  writeFileSync(file, JSON.stringify(config));
  return new StartedProcess({ command: peerBinary('caddy') ?? '', words: ['run', '--config', file], folder, name: 'caddy' });
}

/** A whole configuration with `routes` routes, as its `/load` takes it. */
export function caddyConfig(
  { upstreamPort }: Pick<Site, 'upstreamPort'>,
  { listen, admin, routes, revision = 'v0' }: { listen: number; admin: number; routes: number; revision?: string },
): unknown {
  const all: unknown[] = Array.from({ length: routes }, (_, route) => caddyRoute(route, revision, upstreamPort));
  all.push({ handle: [{ handler: 'static_response', status_code: 404 }] });
  const server = { listen: [`127.0.0.1:${listen}`], automatic_https: { disable: true }, routes: all };
  return {
    admin: { listen: `127.0.0.1:${admin}`, config: { persist: false } },
    logging: { logs: { default: { level: 'ERROR' } } },
    apps: { http: { servers: { s: server } } },
  };
}

function caddyRoute(route: number, revision: string, upstreamPort: number): unknown {
  return {
    '@id': `svc${route}`,
    match: [{ path: [`/svc${route}/*`] }],
    terminal: true,
    handle: [
      { handler: 'headers', response: { set: { 'X-Route': [`r${route}-${revision}`] } } },
      { handler: 'reverse_proxy', upstreams: [{ dial: `127.0.0.1:${upstreamPort}` }] },
    ],
  };
}

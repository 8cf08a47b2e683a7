import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';

import { findFreePort } from '#platform/network/listening-port.js';

import { StartedProcess } from '../machine/started-process.js';
import { type Contender, type Peer, pathOf, routeHeader, type Site, systemBinary } from './contender.js';
import { untilServing } from './probe.js';

export const haproxyMap: Peer = {
  name: 'haproxy-map',
  note: 'one row of a map by its runtime API, one backend for all: no configuration changes, nothing is stored',
  mostRoutes: Number.POSITIVE_INFINITY,
  missing: () => (systemBinary('haproxy') === undefined ? 'haproxy is not installed' : undefined),
  start: startHaproxy,
};

async function startHaproxy(site: Site): Promise<Contender> {
  const listen = await findFreePort(new Set());
  const [map, socket, config] = [join(site.folder, 'routes.map'), join(site.folder, 'haproxy.sock'), join(site.folder, 'haproxy.cfg')];
  writeFileSync(map, Array.from({ length: site.routes }, (_, route) => `/svc${route}/ r${route}-v0\n`).join(''));
  writeFileSync(
    config,
    `global
  stats socket ${socket} mode 600 level admin
  nbthread 2
  maxconn 2000
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
frontend f
  bind 127.0.0.1:${listen}
  http-request set-var(txn.r) path,map_beg(${map})
  http-request return status 404 unless { var(txn.r) -m found }
  http-response set-header x-route %[var(txn.r)]
  default_backend service
backend service
  server s 127.0.0.1:${site.upstreamPort}
`,
  );
  const server = new StartedProcess({
    command: systemBinary('haproxy') ?? '',
    words: ['-f', config],
    ...{ folder: site.folder, name: 'haproxy' },
  });
  const tell = (words: string) => runtimeCommand(socket, words);
  const contender: Contender = {
    host: '127.0.0.1',
    port: listen,
    answer: routeHeader,
    create: (route, revision) => tell(`add map ${map} /svc${route}/ r${route}-${revision}`),
    update: (route, revision) => tell(`set map ${map} /svc${route}/ r${route}-${revision}`),
    remove: (route) => tell(`del map ${map} /svc${route}/`),
    control: [],
    data: [server.pid],
    stop: () => server.stop(),
  };
  await untilServing(contender, { route: site.routes - 1, path: pathOf(site.routes - 1) });
  return contender;
}

/** @throws Error with what it answers, which is nothing when the command was taken. */
function runtimeCommand(path: string, words: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(path);
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    socket.on('error', reject);
    socket.on('end', () => (text.trim() === '' ? resolve() : reject(new Error(`${words}: ${text}`))));
    socket.write(`${words}\n`);
  });
}

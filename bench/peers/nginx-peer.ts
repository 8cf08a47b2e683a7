import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { findFreePort } from '#platform/network/listening-port.js';

import { StartedProcess } from '../machine/started-process.js';
import { type Contender, type Peer, pathOf, routeHeader, type Site, systemBinary } from './contender.js';
import { untilServing } from './probe.js';

export const nginx: Peer = {
  name: 'nginx',
  note: 'a file with one location, and SIGHUP; there is no answer that says it was taken',
  mostRoutes: 10_000,
  missing: () => (systemBinary('nginx') === undefined ? 'nginx is not installed' : undefined),
  start: startNginx,
};

async function startNginx(site: Site): Promise<Contender> {
  const listen = await findFreePort(new Set());
  const routes = join(site.folder, 'routes');
  mkdirSync(routes);
  const location = (route: number, revision: string) =>
    `location /svc${route}/ { add_header x-route r${route}-${revision} always; proxy_pass http://127.0.0.1:${site.upstreamPort}; }\n`;
  writeFileSync(join(routes, 'first.conf'), Array.from({ length: site.routes }, (_, route) => location(route, 'v0')).join(''));
  const bodies = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${join(site.folder, kind)};`)
    .join(' ');
  const config = join(site.folder, 'nginx.conf');
  writeFileSync(
    config,
    `${process.getuid?.() === 0 ? 'user root;' : ''} daemon off; worker_processes 2; pid ${join(site.folder, 'nginx.pid')}; error_log ${join(site.folder, 'error.log')} error;
events { worker_connections 1024; }
http { access_log off; ${bodies}
server { listen 127.0.0.1:${listen}; location / { return 404; } include ${routes}/*.conf; } }
`,
  );
  const server = new StartedProcess({
    command: systemBinary('nginx') ?? '',
    words: ['-p', site.folder, '-c', config],
    ...{ folder: site.folder, name: 'nginx' },
  });
  const reload = async () => {
    server.child.kill('SIGHUP');
  };
  const write = (route: number, revision: string) => {
    const file = join(routes, `svc${route}.conf`);
    writeFileSync(`${file}.new`, location(route, revision));
    renameSync(`${file}.new`, file);
    return reload();
  };
  const contender: Contender = {
    host: '127.0.0.1',
    port: listen,
    answer: routeHeader,
    create: write,
    update: write,
    remove(route) {
      rmSync(join(routes, `svc${route}.conf`));
      return reload();
    },
    control: [],
    data: [server.pid],
    stop: () => server.stop(),
  };
  await untilServing(contender, { route: site.routes - 1, path: pathOf(site.routes - 1) });
  return contender;
}

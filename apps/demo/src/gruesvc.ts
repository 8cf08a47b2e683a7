import { readDemoConfig } from '#platform/config/demo-config.js';

import { healthAnswer, notFound, serveDemo } from './demo-server.js';

/** A service that knows the prefix under which it is published: everything of it is below /grue/, so its mapping must not rewrite that away. */
await serveDemo({
  name: 'gruesvc',
  listen: readDemoConfig().listen,
  routes: async ({ method, path }) => {
    if (method !== 'GET') return notFound(`${method} ${path}`);
    if (path === '/grue/health') return healthAnswer('grue', true);
    if (path === '/grue/') return { status: 200, body: { ok: true, msg: 'It is pitch dark. You are likely to be eaten by a grue.' } };
    return notFound(path);
  },
});

import { existsSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import type { TestServer } from './test-server.js';

declare global {
  var chanceryTestServer: TestServer | undefined;
}

/** Starts the run's Postgres. Node's own import, because jest would load the set-up without its own module mapping. */
async function setUp(): Promise<void> {
  loadSources();
  const nodeImport = new Function('url', 'return import(url)') as (url: string) => Promise<typeof import('./test-server.js')>;
  const server = await (await nodeImport(pathToFileURL(join(import.meta.dirname, 'test-server.ts')).href)).startTestServer();
  globalThis.chanceryTestServer = server;
  process.env.CHANCERY_TEST_ADMIN_URL = server.adminUrl; // inherited by jest's workers
}

// biome-ignore lint/style/noDefaultExport: jest asks for one
export default setUp;

const root = join(import.meta.dirname, '../..');

/**
 * Lets plain Node load the sources: jest maps `#platform/x.js` and `./x.js` to the `.ts` files for the specs only, not
 * for its global set-up. Node itself strips the types.
 */
function loadSources(): void {
  registerHooks({
    resolve(specifier, context, next) {
      const room = /^#(platform|features)\/(.*)\.js$/.exec(specifier);
      if (room) return next(pathToFileURL(join(root, 'libs', `${room[1]}`, `${room[2]}.ts`)).href, context);
      if (/^\.{1,2}\/.*\.js$/.test(specifier) && context.parentURL) {
        const source = new URL(specifier.replace(/\.js$/, '.ts'), context.parentURL);
        if (source.protocol === 'file:' && existsSync(fileURLToPath(source))) return next(source.href, context);
      }
      return next(specifier, context);
    },
  });
}

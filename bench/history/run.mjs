// Runs the bench against the build of apps/ and libs/ (handlers carry decorators, which Node cannot strip), itself from its sources: Node strips its
// types, and this maps `./x.js` to the `.ts` files beside it and `../../apps/` to the build.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';

const root = new URL('../../', import.meta.url);
const built = spawnSync(process.execPath, [fileURLToPath(new URL('bin/build.mjs', root))], { stdio: 'inherit' });
if (built.status !== 0) process.exit(built.status ?? 1);
registerHooks({
  resolve(specifier, context, next) {
    if (/^\.{1,2}\/.*\.js$/.test(specifier) && context.parentURL?.startsWith('file:')) {
      const wanted = new URL(specifier, context.parentURL);
      if (wanted.href.startsWith(new URL('apps/', root).href))
        return next(wanted.href.replace(root.href, new URL('dist/', root).href), context);
      const source = new URL(wanted.href.replace(/\.js$/, '.ts'));
      if (existsSync(fileURLToPath(source))) return next(source.href, context);
    }
    return next(specifier, context);
  },
});
await import('reflect-metadata'); // what the decorators of the handlers write into
await import('./history-bench.ts');

// Runs the bench from the sources: Node strips the types, and this maps `#platform/x.js` and `./x.js` to the `.ts` files.
import { existsSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';

const libs = new URL('../../libs/', import.meta.url);
registerHooks({
  resolve(specifier, context, next) {
    const room = /^#(platform|features)\/(.*)\.js$/.exec(specifier);
    if (room) return next(new URL(`${room[1]}/${room[2]}.ts`, libs).href, context);
    if (/^\.{1,2}\/.*\.js$/.test(specifier) && context.parentURL?.startsWith('file:')) {
      const source = new URL(specifier.replace(/\.js$/, '.ts'), context.parentURL);
      if (existsSync(fileURLToPath(source))) return next(source.href, context);
    }
    return next(specifier, context);
  },
});
await import('./history-bench.ts');

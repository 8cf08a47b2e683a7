// `./x.js` is the `.ts` file beside it, and `../../apps/` is the build.
import { existsSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';

const root = new URL('../../', import.meta.url);
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

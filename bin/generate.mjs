#!/usr/bin/env node
// Regenerates what is generated: TypeScript from libs/platform/xds/proto. `--out DIR` writes below DIR instead, which is how a test compares.
import { spawnSync } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const at = process.argv.indexOf('--out');
const out = at < 0 ? root : process.argv[at + 1];
const bin = join(root, 'node_modules/.bin');
const result = spawnSync(join(bin, 'buf'), ['generate', '--output', out], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ''}` }, // the plugin is a script of Node's
});
if (result.error) console.error(result.error.message);
process.exit(result.status ?? 1);

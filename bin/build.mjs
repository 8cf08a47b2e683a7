#!/usr/bin/env node
// Builds apps/ and libs/ into dist/ with swc. The tree is small, so it is built whole (0.3 s) and nothing stale is left behind; and it is built
// beside and renamed into place, so that a build that fails or is cut off leaves the old dist/ as it was.
import { spawnSync } from 'node:child_process';
import { renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const staging = `${root}.cache/dist.${process.pid}`; // swc makes the folders
const old = `${staging}.old`;
const started = new Date();

const swc = [
  'apps',
  'libs',
  '--out-dir',
  staging,
  '--copy-files',
  '--ignore',
  '**/*.spec.ts',
  '--ignore',
  '**/*.md',
  '--ignore',
  '**/*.proto',
  '--quiet',
];
const result = spawnSync(process.execPath, [`${root}node_modules/@swc/cli/bin/swc.js`, ...swc], { cwd: root, stdio: 'inherit' });
if (result.status !== 0) {
  rmSync(staging, { recursive: true, force: true });
  process.exit(result.status ?? 1);
}
// Its time is what bin/setup.sh compares the sources with: the start of the build, so that a file saved meanwhile counts as newer.
writeFileSync(`${staging}/.built`, '');
utimesSync(`${staging}/.built`, started, started);
try {
  renameSync(`${root}dist`, old);
} catch (error) {
  if (error.code !== 'ENOENT') throw error;
}
renameSync(staging, `${root}dist`);
rmSync(old, { recursive: true, force: true });

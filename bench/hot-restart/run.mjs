#!/usr/bin/env node
// Builds the product, then this bench and the load client beside it in dist/, and runs it. Words are passed on: see --help.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const run = (...words) => {
  const { status } = spawnSync(process.execPath, words, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
};
run('bin/build.mjs');
run(
  'node_modules/@swc/cli/bin/swc.js',
  'bench/hot-restart',
  'test/load',
  '--out-dir',
  'dist',
  '--ignore',
  '**/*.spec.ts',
  '--ignore',
  '**/*.mjs',
  '--quiet',
);
run('dist/bench/hot-restart/hot-restart.js', ...process.argv.slice(2));

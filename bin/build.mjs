#!/usr/bin/env node
// Builds apps/ and libs/ into dist/ with swc. The tree is small, so it is built whole: 0.2 s, and nothing stale is ever left behind.
import { rmSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
rmSync(`${root}dist`, { recursive: true, force: true });
const result = spawnSync(process.execPath, [`${root}node_modules/@swc/cli/bin/swc.js`, 'apps', 'libs', '--out-dir', 'dist', '--quiet'], {
  cwd: root,
  stdio: 'inherit',
});
process.exit(result.status ?? 1);

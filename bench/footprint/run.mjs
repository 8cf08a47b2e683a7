// Runs the bench against the build of apps/ and libs/, itself from its sources: Node strips the types, and hooks.mjs maps what it imports.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = new URL('../../', import.meta.url);
const built = spawnSync(process.execPath, [fileURLToPath(new URL('bin/build.mjs', root))], { stdio: 'inherit' });
if (built.status !== 0) process.exit(built.status ?? 1);
await import('./hooks.mjs');
await import('./footprint-bench.ts');

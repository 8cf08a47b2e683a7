// What every run.mjs of a bench does: builds the product, and runs the bench from its sources. A bench with peers that have fixed ports, or that want an
// address which is not loopback, runs in a network of its own (root and Linux only; elsewhere those peers are left out, and say so).
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const importHooks = ['--import', fileURLToPath(new URL('from-sources.mjs', import.meta.url)), '--no-warnings'];
/** The second address of the loopback device of such a network. */
const OWN_ADDRESS = '10.99.0.1';

/** @param {string} bench its file below bench/  @param {{ ownNetwork?: boolean }} options */
export function startBench(bench, { ownNetwork = false } = {}) {
  const built = spawnSync(process.execPath, ['bin/build.mjs'], { cwd: root, stdio: 'inherit' });
  if (built.status !== 0) process.exit(built.status ?? 1);
  const words = [process.execPath, ...importHooks, fileURLToPath(new URL(`../${bench}`, import.meta.url)), ...process.argv.slice(2)];
  const isolated = ownNetwork && process.platform === 'linux' && process.getuid?.() === 0;
  const [command, ...rest] = isolated
    ? ['unshare', '-n', 'sh', '-c', `ip link set lo up && ip addr add ${OWN_ADDRESS}/32 dev lo && exec "$@"`, 'sh', ...words]
    : words;
  const env = { ...process.env, ...(isolated ? { CHANCERY_BENCH_OWN_ADDRESS: OWN_ADDRESS } : {}) };
  process.exit(spawnSync(command, rest, { stdio: 'inherit', env }).status ?? 1);
}

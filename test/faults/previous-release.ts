import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { checkout } from '../support/dev-harness.js';
import type { Release } from './house-process.js';

const { commit } = JSON.parse(readFileSync(join(import.meta.dirname, 'previous-release.json'), 'utf8')) as { commit: string };

/** Why the release before cannot be made here; undefined when it can. */
export function lacksPreviousRelease(): string | undefined {
  const found = spawnSync('git', ['-C', checkout, 'cat-file', '-e', `${commit}^{commit}`], { encoding: 'utf8' });
  if (found.error !== undefined) return 'there is no git on PATH';
  return found.status === 0 ? undefined : `this checkout's history does not have ${commit.slice(0, 7)} (git fetch --unshallow)`;
}

/** Makes the release that test/faults/previous-release.json names, from the history, with the packages of this checkout. Some two seconds. */
export function makePreviousRelease(): Release & { dispose(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'chancery-previous-'));
  try {
    const tree = execFileSync('git', ['-C', checkout, 'archive', commit], { maxBuffer: 256 * 1024 * 1024 });
    execFileSync('tar', ['-x', '-C', folder], { input: tree });
    symlinkSync(join(checkout, 'node_modules'), join(folder, 'node_modules'));
    execFileSync(process.execPath, ['bin/build.mjs'], { cwd: folder, env: { PATH: process.env.PATH ?? '' }, stdio: 'pipe' });
  } catch (error) {
    rmSync(folder, { recursive: true });
    throw error;
  }
  return { folder, dispose: () => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }) };
}

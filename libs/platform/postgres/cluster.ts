import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { sha256Hex } from '#platform/kernel/digest.js';
import { DomainError } from '#platform/kernel/errors.js';

import { type Binaries, identity, type RunAs } from './binaries.js';

/** Passwords of the three roles: `postgres` (the superuser, for set-up only), `chancery_owner` (migrations), `chancery_app` (the processes). */
export interface Credentials {
  readonly superuser: string;
  readonly owner: string;
  readonly application: string;
}

/** A cluster on disk: `data` is Postgres' own folder, `credentials` the passwords kept beside it. */
export interface Cluster {
  readonly data: string;
  readonly log: string;
  readonly credentials: Credentials;
  readonly created: boolean;
}

/**
 * Makes the cluster under `dataDir` at the first start and opens it at the later ones. A first start that was cut off
 * leaves no `data`, only a folder of another name that is cleared here: initdb works beside and is renamed at its end. That name is new
 * each time, because the initdb of a start that was killed may still be at work in its own.
 */
export function openCluster(dataDir: string, options: { binaries: Binaries; runAs: RunAs | undefined; fsync: boolean }): Cluster {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const home = reachableHome(dataDir, options.runAs);
  const data = join(home, 'data');
  const cluster = { data, log: join(home, 'postgres.log') };
  const file = join(dataDir, 'credentials.json');
  if (existsSync(join(data, 'PG_VERSION')) && existsSync(file)) {
    return { ...cluster, credentials: JSON.parse(readFileSync(file, 'utf8')) as Credentials, created: false };
  }
  if (existsSync(join(data, 'PG_VERSION'))) {
    throw new DomainError(
      'unavailable',
      'credentials_missing',
      `${data} holds a database but ${file} with its passwords is gone: restore that file, or start afresh with another folder.`,
    );
  }
  const secret = () => randomBytes(24).toString('base64url');
  const credentials: Credentials = { superuser: secret(), owner: secret(), application: secret() };
  writeFileSync(file, `${JSON.stringify(credentials)}\n`, { mode: 0o600 });
  initialise(home, credentials, options);
  return { ...cluster, credentials, created: true };
}

function initialise(
  home: string,
  credentials: Credentials,
  options: { binaries: Binaries; runAs: RunAs | undefined; fsync: boolean },
): void {
  const { binaries, runAs, fsync } = options;
  clearStaging(home);
  const staging = join(home, `${STAGING}${randomBytes(4).toString('hex')}`);
  const passwordFile = `${staging}.password`;
  writeFileSync(passwordFile, credentials.superuser, { mode: 0o600 });
  if (runAs) chownSync(passwordFile, runAs.uid, runAs.gid);
  const locale = ['--encoding=UTF8', '--locale=C']; // byte order: the same on every machine, and the order that the log's indexes use
  const result = spawnSync(
    join(binaries.folder, 'bin', 'initdb'),
    ['-D', staging, '-U', 'postgres', '--auth=scram-sha-256', `--pwfile=${passwordFile}`, ...locale, ...(fsync ? [] : ['--no-sync'])],
    { ...identity(runAs), cwd: home, encoding: 'utf8', timeout: 120_000 },
  );
  rmSync(passwordFile);
  if (result.status !== 0) {
    throw new DomainError(
      'unavailable',
      'initdb_failed',
      `initdb could not make the database in ${home}: ${result.error?.message ?? result.stderr.trim()}`,
    );
  }
  renameSync(staging, join(home, 'data'));
}

const STAGING = 'data.new-';

/** Removes what starts that were cut off have left. What one of them is still writing stays, and harms nobody. */
function clearStaging(home: string): void {
  for (const name of readdirSync(home).filter((entry) => entry.startsWith(STAGING))) {
    try {
      rmSync(join(home, name), { recursive: true, force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
    }
  }
}

/**
 * The folder that Postgres works in. Normally `dataDir` itself (it becomes that user's; every folder above it must let others pass, mode 711 is enough). When we are root and `dataDir` lies in a home that the Postgres user cannot
 * enter, a folder under /var/lib with a link to it from `dataDir`: loosening the mode of somebody's home is not ours to do.
 */
function reachableHome(dataDir: string, runAs: RunAs | undefined): string {
  if (!runAs) return dataDir;
  const link = join(dataDir, 'postgres');
  if (existsSync(link)) return realpathSync(link); // by its own path: the one through the link leads into the closed home
  chownSync(dataDir, runAs.uid, runAs.gid);
  const reachable =
    spawnSync('/bin/sh', ['-c', 'test -w "$0" && test -x "$0"', dataDir], { ...identity(runAs), cwd: '/', timeout: 10_000 }).status === 0;
  if (reachable) return dataDir;
  const elsewhere = join('/var/lib/chancery', sha256Hex(dataDir).slice(0, 16));
  mkdirSync(elsewhere, { recursive: true, mode: 0o755 });
  chmodSync(elsewhere, 0o700);
  chownSync(elsewhere, runAs.uid, runAs.gid);
  rmSync(link, { force: true });
  symlinkSync(elsewhere, link);
  return elsewhere;
}

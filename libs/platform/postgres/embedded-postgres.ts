import { spawn } from 'node:child_process';
import { chownSync, closeSync, openSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

import { DomainError } from '#platform/kernel/errors.js';

import { type Binaries, chooseUser, findBinaries, identity, type RunAs } from './binaries.js';
import { type Cluster, type Credentials, openCluster } from './cluster.js';
import { isAlive, runningPostmaster, stopPostmaster } from './postmaster.js';

/** A running Postgres of our own. It is a process by itself: it outlives us unless `stop` is called. */
export interface EmbeddedPostgres {
  readonly pid: number;
  readonly port: number;
  /** The superuser on the database `postgres`: for tests and set-up. */
  readonly adminUrl: string;
  /** The role that owns the tables: migrations. */
  readonly ownerUrl: string;
  /** The application's role: reads, and the append functions. */
  readonly url: string;
  /** True when a server was already running in this folder (left by an earlier start) and is used as it is. */
  readonly adopted: boolean;
  /** Fast shutdown; resolves when the process is gone. */
  stop(): Promise<void>;
}

export interface StartOptions {
  /** Holds the database, its log and `credentials.json` (mode 0600). Made when missing. */
  readonly dataDir: string;
  /** 0 or absent: a free one. */
  readonly port?: number;
  /** False only for tests: a power cut may then lose the database. Default true. */
  readonly fsync?: boolean;
  /** Further settings of postgresql.conf, for instance `{ max_connections: '300' }`. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly log?: { info(fields: object, message: string): void };
}

const START_DEADLINE_MS = 60_000; // crash recovery after a kill is the slow case: it replays up to max_wal_size

/**
 * Starts the Postgres that npm installed, on loopback only, with the data in one folder; or adopts the one that an
 * earlier start left running there. Recovers by itself from an earlier kill -9.
 * @throws DomainError (kind unavailable) with the reason and the tail of Postgres' own log.
 */
export async function startPostgres(options: StartOptions): Promise<EmbeddedPostgres> {
  const dataDir = resolve(options.dataDir);
  const runAs = chooseUser();
  const binaries = findBinaries(runAs);
  const cluster = openCluster(dataDir, { binaries, runAs, fsync: options.fsync ?? true });
  const running = runningPostmaster(cluster.data);
  if (running) {
    if (options.port && options.port !== running.port) {
      throw new DomainError(
        'unavailable',
        'postgres_already_running',
        `Postgres (pid ${running.pid}) already serves ${dataDir} on port ${running.port}, not on ${options.port}: stop it (kill -INT ${running.pid}) or ask for that port.`,
      );
    }
    await untilReady(running.port, cluster, () => isAlive(running.pid));
    await ensureRoles(running.port, cluster.credentials);
    options.log?.info({ pid: running.pid, port: running.port }, 'adopted a running Postgres');
    return describe(running.pid, running.port, cluster.credentials, true);
  }
  const { pid, port } = await launchWithRetry(cluster, { binaries, runAs, options });
  await ensureRoles(port, cluster.credentials);
  options.log?.info({ pid, port }, 'started Postgres');
  return describe(pid, port, cluster.credentials, false);
}

interface Launch {
  readonly binaries: Binaries;
  readonly runAs: RunAs | undefined;
  readonly options: StartOptions;
}

/**
 * Two causes pass by themselves and are tried again until the deadline: children of a killed server that still hold
 * its shared memory, and a free port that somebody took between our look and Postgres' bind.
 */
async function launchWithRetry(cluster: Cluster, launch: Launch): Promise<{ pid: number; port: number }> {
  const end = performance.now() + START_DEADLINE_MS;
  for (;;) {
    const port = launch.options.port || (await freePort());
    const from = logSize(cluster.log);
    const child = launchServer(cluster, port, launch);
    try {
      await untilReady(port, cluster, () => isAlive(child));
      return { pid: child, port };
    } catch (error) {
      if (isAlive(child)) await stopPostmaster(child);
      const said = readFileSync(cluster.log, 'utf8').slice(from);
      const held = /pre-existing shared memory block|could not map anonymous shared memory|lock file .* already exists/.test(said);
      const taken = /could not bind|could not create any TCP\/IP sockets/.test(said) && !launch.options.port;
      if ((!held && !taken) || performance.now() > end) {
        throw new DomainError(
          'unavailable',
          'postgres_did_not_start',
          `Postgres did not start in ${cluster.data} on port ${port}: ${said.trim().split('\n').slice(-8).join(' | ')}`,
          { cause: error },
        );
      }
      await sleep(100);
    }
  }
}

function launchServer(cluster: Cluster, port: number, { binaries, runAs, options }: Launch): number {
  const settings: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    max_connections: '200',
    shared_buffers: '128MB',
    wal_compression: 'off',
    jit: 'off', // statements are short; compiling one costs more than it saves
    log_timezone: 'UTC',
    timezone: 'UTC',
    ...(options.fsync === false ? { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' } : {}),
    ...options.settings,
  };
  const out = openSync(cluster.log, 'a', 0o600);
  if (runAs) chownSync(cluster.log, runAs.uid, runAs.gid);
  const child = spawn(
    join(binaries.folder, 'bin', 'postgres'),
    ['-D', cluster.data, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    {
      ...identity(runAs),
      cwd: '/',
      detached: true, // a session of its own: Ctrl-C in the terminal reaches us, and we stop it last
      stdio: ['ignore', out, out],
      env: { LC_ALL: 'C' },
    },
  );
  closeSync(out);
  child.once('error', () => undefined); // a failed spawn has no pid; the caller reports it with the log
  child.unref();
  if (child.pid === undefined)
    throw new DomainError('unavailable', 'postgres_did_not_start', `${binaries.folder}/bin/postgres could not be executed.`);
  return child.pid;
}

async function untilReady(port: number, cluster: Cluster, alive: () => boolean): Promise<void> {
  const end = performance.now() + START_DEADLINE_MS;
  for (;;) {
    const client = new pg.Client({ ...superuser(port, cluster.credentials), connectionTimeoutMillis: 5_000 });
    client.on('error', () => undefined); // the query's own rejection is the report
    try {
      await client.connect();
      await client.query('select 1');
      return;
    } catch (error) {
      if (!alive()) throw new Error('the server ended', { cause: error });
      if ((error as { code?: string }).code === '28P01') throw error; // wrong password: another server, or a credentials file of another cluster
      if (performance.now() > end) throw new Error(`not ready within ${START_DEADLINE_MS} ms`, { cause: error });
      await sleep(5);
    } finally {
      await client.end().catch(() => undefined);
    }
  }
}

/** Idempotent, and run at each start: a first start that was cut off between initdb and here is completed by the next. */
async function ensureRoles(port: number, credentials: Credentials): Promise<void> {
  const client = new pg.Client({ ...superuser(port, credentials), connectionTimeoutMillis: 10_000 });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const done = await client.query("SELECT 1 FROM pg_database WHERE datname = 'chancery'");
    if (done.rowCount) return;
    for (const [role, password, rights] of [
      ['chancery_owner', credentials.owner, 'CREATEDB'],
      ['chancery_app', credentials.application, ''],
    ] as const) {
      const exists = await client.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [role]);
      await client.query(`${exists.rowCount ? 'ALTER' : 'CREATE'} ROLE ${role} LOGIN ${rights} PASSWORD ${client.escapeLiteral(password)}`);
    }
    await client.query('CREATE DATABASE chancery OWNER chancery_owner');
  } finally {
    await client.end();
  }
}

function describe(pid: number, port: number, credentials: Credentials, adopted: boolean): EmbeddedPostgres {
  const url = (role: string, password: string, database: string) => `postgresql://${role}:${password}@127.0.0.1:${port}/${database}`;
  return {
    pid,
    port,
    adminUrl: url('postgres', credentials.superuser, 'postgres'),
    ownerUrl: url('chancery_owner', credentials.owner, 'chancery'),
    url: url('chancery_app', credentials.application, 'chancery'),
    adopted,
    stop: () => stopPostmaster(pid),
  };
}

function superuser(port: number, credentials: Credentials): pg.ClientConfig {
  return { host: '127.0.0.1', port, user: 'postgres', password: credentials.superuser, database: 'postgres' };
}

function logSize(file: string): number {
  try {
    return statSync(file).size;
  } catch {
    return 0;
  }
}

function freePort(): Promise<number> {
  return new Promise((done, failed) => {
    const server = createServer();
    server.once('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => (address && typeof address === 'object' ? done(address.port) : failed(new Error('no port'))));
    });
  });
}

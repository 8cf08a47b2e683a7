import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { type Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { testEnvoy } from '#platform/envoy/envoy.fixture.js';
import { waitUntil } from '#platform/envoy/wait-until.js';

import type { Rendered } from './compile.js';

/** A real Envoy in a folder of its own, for as long as a test needs it. */
export interface RunningEnvoy {
  /** The port of each listener, by its name. */
  readonly ports: ReadonlyMap<string, number>;
  /** Replaces a file of its folder in one step, as Envoy's watch needs it. */
  replace(file: string, bytes: Uint8Array): void;
  /** Asks its administration interface. */
  admin(path: string): Promise<Answer>;
  /** What it has written: for the message of a test that fails. */
  log(): string;
  stop(): Promise<void>;
  readonly pid: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/** What `envoy --mode validate` says to these files: null when it accepts them. */
export async function validate(bootstrap: Uint8Array, files: Rendered['endpointFiles']): Promise<string | null> {
  const folder = prepare(bootstrap, files);
  const child = spawn(await testEnvoy(), ['--mode', 'validate', '-c', 'envoy.json', '-l', 'warning'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output: Buffer[] = [];
  child.stdout.on('data', (bytes: Buffer) => output.push(bytes));
  child.stderr.on('data', (bytes: Buffer) => output.push(bytes));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  rmSync(folder, { recursive: true, force: true });
  return code === 0 ? null : Buffer.concat(output).toString();
}

/** Starts Envoy and waits until its listeners take connections. */
export async function startEnvoy(bootstrap: Uint8Array, files: Rendered['endpointFiles']): Promise<RunningEnvoy> {
  const folder = prepare(bootstrap, files);
  const logFile = join(folder, 'envoy.log');
  const args = ['-c', 'envoy.json', '--disable-hot-restart', '--concurrency', '1', '-l', 'warning', '--log-path', logFile];
  const child = spawn(await testEnvoy(), args, { cwd: folder, stdio: 'ignore' });
  const ports = await waitUntil(() => listeners(join(folder, 'admin.sock'), child), { timeoutMs: 20_000, everyMs: 20 });
  const log = () => readFileSync(logFile, 'utf8');
  const admin = (path: string) => ask({ socketPath: join(folder, 'admin.sock'), path });
  if (ports === null) {
    const said = log();
    await end(child, folder);
    throw new Error(`Envoy did not become live: ${said}`);
  }
  return {
    ports,
    replace: (file, bytes) => replaceFile(join(folder, file), bytes),
    log,
    stop: () => end(child, folder),
    admin,
    pid: child.pid ?? 0,
  };
}

function prepare(bootstrap: Uint8Array, files: Rendered['endpointFiles']): string {
  const folder = mkdtempSync(join(tmpdir(), 'chancery-compile-'));
  mkdirSync(join(folder, 'endpoints'));
  writeFileSync(join(folder, 'envoy.json'), bootstrap);
  for (const [name, { json }] of files) writeFileSync(join(folder, 'endpoints', `${name}.json`), json);
  return folder;
}

function replaceFile(path: string, bytes: Uint8Array): void {
  const fresh = join(dirname(path), '.fresh');
  writeFileSync(fresh, bytes);
  renameSync(fresh, path);
}

async function listeners(socketPath: string, child: ChildProcess): Promise<ReadonlyMap<string, number> | null> {
  if (child.exitCode !== null || child.signalCode !== null) throw new Error(`Envoy ended by itself: ${child.exitCode ?? child.signalCode}`);
  try {
    const ready = await ask({ socketPath, path: '/ready' });
    if (ready.status !== 200) return null;
    const { body } = await ask({ socketPath, path: '/listeners?format=json' });
    const statuses = JSON.parse(body).listener_statuses as { name: string; local_address: { socket_address: { port_value: number } } }[];
    return new Map(statuses.map(({ name, local_address }) => [name, local_address.socket_address.port_value]));
  } catch (error) {
    // Not instanceof: under jest the error is of another realm.
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return null;
    throw error;
  }
}

/** One request, its path exactly as given, on a connection of its own unless an agent keeps them. Ends within 10 s. */
export function ask(options: {
  port?: number;
  socketPath?: string;
  path: string;
  method?: string;
  headers?: Readonly<Record<string, string | readonly string[]>>;
  agent?: Agent;
}): Promise<Answer> {
  const headers = Object.fromEntries(
    Object.entries(options.headers ?? {}).map(([name, value]) => [name, typeof value === 'string' ? value : [...value]]),
  );
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', agent: false, method: 'GET', ...options, headers }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (bytes: Buffer) => chunks.push(bytes));
      answer.on('error', reject);
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(chunks).toString() }));
    });
    sent.setTimeout(10_000, () => sent.destroy(new Error(`no answer to ${options.path} within 10 s`)));
    sent.on('error', reject);
    sent.end();
  });
}

async function end(child: ChildProcess, folder: string): Promise<void> {
  const ended = new Promise((resolve) => child.on('close', resolve));
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL');
    await ended;
  }
  rmSync(folder, { recursive: true, force: true });
}

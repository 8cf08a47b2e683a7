import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const main = `${root}dist/apps/cli/src/main.js`;
const DEADLINE_MS = 60_000;

/** Brings dist/ up to the sources, as bin/chancery does before it runs. */
export function buildCommand(): void {
  const script = `root='${root.replace(/\/$/, '')}'; . "$root/bin/setup.sh"; build_sources`;
  const built = spawnSync('sh', ['-c', script], { encoding: 'utf8' });
  if (built.status !== 0) throw new Error(`the build failed: ${built.stderr}`);
}

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** The whole environment beside PATH. */
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  /** Runs it on a terminal of its own (Python's pty), on which `stdin` is typed; what it writes is all in `stdout`. */
  readonly terminal?: boolean;
  /** Closes the reading end of its stdout at once, as `| head -0` does. */
  readonly deaf?: boolean;
  /** Asked at each piece of output; once it says true, the command is told to end (SIGINT). */
  readonly until?: (stdout: string) => boolean;
}

const onTerminal = 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))';

/** Runs the built command as a process of its own. */
export async function runCommand(
  args: readonly string[],
  { env = {}, stdin = '', terminal = false, deaf = false, until }: RunOptions = {},
): Promise<Ran> {
  const line = [process.execPath, main, ...args];
  const [file, ...rest] = terminal ? ['python3', '-c', onTerminal, ...line] : line;
  const child = spawn(file as string, rest, { env: { PATH: process.env.PATH ?? '', ...env }, stdio: 'pipe' });
  const timer = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
  let [stdout, stderr] = ['', ''];
  if (deaf) child.stdout.destroy();
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString('utf8');
    if (until?.(stdout) === true) child.kill('SIGINT');
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString('utf8');
  });
  child.stdin.on('error', () => undefined); // one that reads nothing may have ended before
  child.stdin.end(stdin);
  const [status] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  return { status, stdout, stderr };
}

/** What stands between the command and the API: it hands every request on, and does to the answer what the test asks for. */
export interface Between {
  readonly url: string;
  /** Method and path of each request, with its Idempotency-Key. */
  readonly seen: { readonly line: string; readonly key: string | undefined }[];
  close(): Promise<void>;
}

export type Meddle = (
  count: number,
  answer: ServerResponse,
  handOn: () => Promise<{ status: number; body: Buffer; headers: IncomingMessage['headers'] }>,
) => unknown;

/** @param meddle is told how many requests there were before; it answers, or does not */
export async function standBetween(api: string, meddle: Meddle): Promise<Between> {
  const seen: Between['seen'] = [];
  const server = createServer((asked, answer) => {
    const chunks: Buffer[] = [];
    asked.on('data', (chunk: Buffer) => chunks.push(chunk));
    asked.on('end', () => {
      seen.push({ line: `${asked.method} ${asked.url}`, key: asked.headers['idempotency-key'] as string | undefined });
      void meddle(seen.length - 1, answer, () => handOn(api, asked, Buffer.concat(chunks)));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function handOn(
  api: string,
  asked: IncomingMessage,
  body: Buffer,
): Promise<{ status: number; body: Buffer; headers: IncomingMessage['headers'] }> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(new URL(asked.url ?? '/', api), { method: asked.method, headers: asked.headers }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, body: Buffer.concat(chunks), headers: incoming.headers }));
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

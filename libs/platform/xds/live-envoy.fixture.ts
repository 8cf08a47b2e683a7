import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { EnvoyAdmin } from '#platform/envoy/admin.js';
import { freePort, testEnvoy } from '#platform/envoy/envoy.fixture.js';
import { GrpcServer } from '#platform/grpc/grpc-server.js';
import { createLog } from '#platform/log/log.js';
import { ADS_MESSAGE_BYTES, AdsEndpoint, adsService } from './ads-endpoint.js';
import { adsBootstrap } from './envoy-messages.fixture.js';
import type { EnvoySession, HeldBack, Rejection, SequencerTiming } from './envoy-session.js';
import type { EnvoyStream } from './envoy-stream.js';
import type { ResourceSet } from './resource-set.js';
import type { ResourceKey } from './xds-resource.js';

/** A control plane of nothing but a set: what its Envoys should have, and all that they said. */
export class TestControlPlane {
  readonly rejected: Rejection[] = [];
  readonly acked: ResourceKey[] = [];
  heldBack: readonly HeldBack[] = [];
  streams: EnvoyStream[] = [];
  readonly closed: string[] = [];
  endpoint: AdsEndpoint | undefined;
  #server: GrpcServer | undefined;

  constructor(
    readonly set: ResourceSet,
    readonly options: { readonly timing?: Partial<SequencerTiming>; warming?(): Promise<ReadonlySet<string>> } = {},
  ) {}

  /** Listens on a Unix socket or a port of the loopback. */
  async start(where: { readonly pipe: string } | { readonly port: number }): Promise<void> {
    const { warming } = this.options;
    const session: EnvoySession = {
      sets: [this.set],
      systemVersion: () => `revision ${this.set.revision}`,
      ...(warming === undefined ? {} : { warming }),
      onAcked: (keys) => void this.acked.push(...keys),
      onRejected: (rejection) => void this.rejected.push(rejection),
      onHeldBack: (held) => {
        this.heldBack = held;
      },
      onSettled: () => undefined,
      onClosed: (reason) => void this.closed.push(reason),
    };
    this.endpoint = new AdsEndpoint({
      log: createLog({ process: 'spec', level: 'error' }),
      open: async () => session,
      opened: (stream) => void this.streams.push(stream),
      ...(this.options.timing === undefined ? {} : { timing: this.options.timing }),
    });
    const address = 'pipe' in where ? { path: where.pipe } : { host: '127.0.0.1', port: where.port };
    this.#server = await GrpcServer.listen(address, { methods: adsService(this.endpoint), maxMessageBytes: ADS_MESSAGE_BYTES });
  }

  /** Ends as a process that is killed ends: connections are cut. */
  kill(): void {
    this.#server?.destroy();
    this.streams = [];
  }

  get stream(): EnvoyStream {
    const stream = this.streams.findLast(({ closedBecause }) => closedBecause === undefined);
    if (stream === undefined) throw new Error('no Envoy is connected');
    return stream;
  }

  /** Everything of the set as it is now is acknowledged, refused or held back. */
  async settled(timeoutMs = 10_000): Promise<void> {
    await until('the stream has settled', () => this.streams.some((stream) => stream.settledRevision >= this.set.revision), timeoutMs);
  }
}

/** An Envoy of its own folder that gets everything by ADS. */
export class LiveEnvoy {
  readonly folder = mkdtempSync(join(tmpdir(), 'chancery-xds-'));
  readonly pipe = join(this.folder, 'xds.sock');
  readonly admin = new EnvoyAdmin(join(this.folder, 'admin.sock'));
  disposed = false;
  #process: ChildProcess | undefined;

  constructor(
    readonly protocol: 'delta' | 'sotw',
    readonly port: number,
  ) {}

  static async create(protocol: 'delta' | 'sotw' = 'delta'): Promise<LiveEnvoy> {
    return new LiveEnvoy(protocol, await freePort());
  }

  async start(server: { readonly pipe: string } | { readonly port: number } = { pipe: this.pipe }): Promise<void> {
    const config = join(this.folder, 'bootstrap.json');
    writeFileSync(config, adsBootstrap({ ads: server, admin: join(this.folder, 'admin.sock'), protocol: this.protocol, node: 'node-1' }));
    const flags = ['-c', config, '--disable-hot-restart', '--concurrency', '2', '--log-path', join(this.folder, 'envoy.log'), '-l', 'info'];
    this.#process = spawn(await testEnvoy(), flags, { stdio: 'ignore', cwd: this.folder });
  }

  /** GET on a connection of its own; the status and the body, or undefined when there is no answer. */
  get(path: string): Promise<{ status: number; body: string } | undefined> {
    return get(this.port, path);
  }

  async serves(path: string, body: string, timeoutMs = 10_000): Promise<void> {
    await until(`${path} answers ${body}`, async () => (await this.get(path))?.body === body, timeoutMs);
  }

  async dispose(): Promise<void> {
    this.disposed = true;
    const running = this.#process;
    if (running !== undefined && running.exitCode === null) {
      const ended = new Promise((resolve) => running.once('exit', resolve));
      running.kill('SIGKILL');
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** One request on a new connection, written by hand: what is lost is seen. Over when the body is there; Envoy itself closes a second later. */
export function get(port: number, path: string): Promise<{ status: number; body: string } | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.setTimeout(5_000, () => socket.destroy());
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      const head = text.indexOf('\r\n\r\n');
      const length = Number(/\r\ncontent-length: (\d+)\r\n/i.exec(text)?.[1] ?? Number.NaN);
      if (head >= 0 && text.length >= head + 4 + length) socket.destroy();
    });
    socket.on('close', () => {
      const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1] ?? 0);
      resolve(status === 0 ? undefined : { status, body: text.slice(text.indexOf('\r\n\r\n') + 4) });
    });
    socket.write(`GET ${path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n`);
  });
}

/** Clients that ask without pause, each time on a new connection, until they are stopped or Envoy is disposed of; counts what is not 200. */
export function load(live: LiveEnvoy, path: string, clients: number): { stop(): Promise<{ asked: number; lost: Record<string, number> }> } {
  let asked = 0;
  let going = true;
  const lost: Record<string, number> = {};
  const client = async () => {
    while (going && !live.disposed) {
      const answer = await live.get(path);
      asked += 1;
      const status = String(answer?.status ?? 'no answer');
      if (status !== '200') lost[status] = (lost[status] ?? 0) + 1;
    }
  };
  const all = Array.from({ length: clients }, client);
  return {
    async stop() {
      going = false;
      await Promise.all(all);
      return { asked, lost };
    },
  };
}

/** A service that answers every request with its name. */
export async function upstream(name: string): Promise<{ readonly port: number; close(): void }> {
  const server = createServer((_request, answer) => answer.end(name));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

export async function until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    if (await holds()) return;
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

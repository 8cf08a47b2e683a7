import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { checkout, DevHarness, type HttpAnswer } from '../support/dev-harness.js';

const g = '/v1/gateways/default';

export interface LiveTarget {
  readonly name: string;
  readonly kind: string;
  readonly delivery: string;
  readonly epoch: number;
  readonly provenVersion: number;
  readonly appliedVersion: number;
  readonly agentState: string;
  readonly error: string;
}

export interface LiveDeployment {
  readonly delivery: string;
  readonly state: string;
  readonly version: number;
  readonly coversFrom: number;
  readonly trigger: string;
  readonly target: string;
}

export interface LivePropagation {
  readonly state: string;
  readonly satisfied: boolean;
  readonly targets: readonly { readonly name: string; readonly state: string; readonly mappings: readonly { readonly name: string }[] }[];
}

/** A development house whose gateway is delivered live, with an echo service behind it. */
export class LiveHouse {
  readonly #echo: Server;

  private constructor(
    readonly dev: DevHarness,
    echo: Server,
  ) {
    this.#echo = echo;
  }

  static async start(): Promise<LiveHouse> {
    const echo = createServer((request, response) => response.end(request.url));
    await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
    const dev = await DevHarness.start({ args: ['--no-demo'] });
    const house = new LiveHouse(dev, echo);
    try {
      const switched = await house.change('PATCH', 'settings', { delivery: 'live' });
      await house.propagation(Number(switched.headers['chancery-version']));
      return house;
    } catch (error) {
      await house.dispose();
      throw error;
    }
  }

  get gateway(): string {
    return this.dev.ready.gateway;
  }

  /** What mappings name as their service: it answers with the path that it was asked for. */
  get service(): string {
    return `127.0.0.1:${(this.#echo.address() as AddressInfo).port}`;
  }

  async change(method: string, path: string, body?: unknown): Promise<HttpAnswer> {
    const answer = await this.dev.api(`${g}/${path}`, { method, ...(body === undefined ? {} : { body }) });
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
    return answer;
  }

  /** Waits until there is nothing left to wait for about this version, or it is refused. */
  async propagation(version: number): Promise<LivePropagation> {
    const answer = await this.dev.until(
      () => this.dev.api(`${g}/versions/${version}/propagation?wait=1s`),
      ({ status, json }) => status === 200 && ((json as LivePropagation).satisfied || (json as LivePropagation).state === 'refused'),
      60_000,
    );
    return answer.json as LivePropagation;
  }

  async target(name: string): Promise<LiveTarget> {
    return (await this.dev.api(`${g}/targets/${name}`)).json as LiveTarget;
  }

  async deployments(): Promise<readonly LiveDeployment[]> {
    return ((await this.dev.api(`${g}/deployments?limit=20`)).json as { items: LiveDeployment[] }).items;
  }

  /** Starts an Envoy without an agent, as an operator would: with a token of its own and the bootstrap that the command prints. */
  async startEnvoy(node: string, protocol: 'delta' | 'sotw', token?: string): Promise<BareEnvoy> {
    const folder = mkdtempSync(join(tmpdir(), 'chancery-stock-'));
    const made = await this.dev.api('/v1/tokens', { method: 'POST', body: { name: node, scopes: [`agent:${node}`] } });
    writeFileSync(join(folder, 'token'), token ?? (made.json as { token: string }).token);
    const house = environmentOf(this.dev.pidOf('agent'));
    const words = ['envoy', 'bootstrap', '--node', node, '--protocol', protocol, '--token-file', join(folder, 'token')];
    const worker = house.get('CHANCERY_AGENT_WORKER') ?? '';
    const bootstrap = execFileSync(join(checkout, 'bin/chancery'), [...words, '--worker', worker], { encoding: 'utf8' });
    writeFileSync(join(folder, 'envoy.json'), bootstrap);
    return new BareEnvoy(house.get('ENVOY_PATH') ?? '', folder);
  }

  async dispose(): Promise<void> {
    await this.dev.dispose();
    this.#echo.closeAllConnections();
    await new Promise((resolve) => this.#echo.close(resolve));
  }
}

/** An Envoy in a folder of its own. */
export class BareEnvoy {
  readonly #child: ChildProcess;
  readonly #folder: string;
  #log = '';

  constructor(binary: string, folder: string) {
    this.#folder = folder;
    this.#child = spawn(binary, ['-c', 'envoy.json', '--disable-hot-restart', '--concurrency', '1', '-l', 'info'], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#log += chunk.toString();
    });
  }

  /** Waits until Envoy's log says this. */
  async said(words: RegExp, deadlineMs = 30_000): Promise<void> {
    const endsAt = performance.now() + deadlineMs;
    while (!words.test(this.#log)) {
      if (performance.now() > endsAt) throw new Error(`Envoy never said ${words}, but:\n${this.#log.slice(-2_000)}`);
      await pause(50);
    }
  }

  async end(): Promise<void> {
    const ended = new Promise<void>((resolve) => {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) resolve();
      else this.#child.once('exit', () => resolve());
    });
    this.#child.kill('SIGKILL');
    await ended;
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** What the supervisor told a process of its house. */
function environmentOf(pid: number): ReadonlyMap<string, string> {
  const entries = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  return new Map(entries.map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]));
}

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

import { findFreePort } from '#platform/network/listening-port.js';

import { type RunningLoad, startLoad } from '../load/load-client.js';
import { checkout, DevHarness, type HttpAnswer, send } from '../support/dev-harness.js';

/** One Envoy with its agent. */
export interface Edge {
  readonly name: string;
  readonly port: number;
  readonly agent: number;
}

const START_DEADLINE_MS = 60_000;

/** A development house whose gateway has three Envoys: its own, and two whose agents are started beside it, and an echo service behind them. */
export class ThreeTargets {
  readonly #extra: ChildProcess[] = [];
  readonly #echo: Server;

  private constructor(
    readonly dev: DevHarness,
    echo: Server,
    readonly edges: readonly Edge[],
    extra: readonly ChildProcess[],
  ) {
    this.#echo = echo;
    this.#extra.push(...extra);
  }

  static async start(): Promise<ThreeTargets> {
    const echo = createServer((request, response) => response.end(request.url));
    await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
    const dev = await DevHarness.start({ args: ['--no-demo'] });
    const extra: ChildProcess[] = [];
    try {
      const edges = [{ name: 'dev', port: Number(new URL(dev.ready.gateway).port), agent: dev.pidOf('agent') }];
      for (const name of ['edge-2', 'edge-3']) {
        const port = await findFreePort(new Set(edges.map((edge) => edge.port)));
        const child = await startAgent(dev, name, port);
        extra.push(child);
        edges.push({ name, port, agent: child.pid ?? 0 });
      }
      return new ThreeTargets(dev, echo, edges, extra);
    } catch (error) {
      await end(dev, echo, extra);
      throw error;
    }
  }

  /** What mappings name as their service. */
  get service(): string {
    return `127.0.0.1:${(this.#echo.address() as AddressInfo).port}`;
  }

  edge(name: string): Edge {
    const edge = this.edges.find((candidate) => candidate.name === name);
    if (edge === undefined) throw new Error(`no edge ${name}`);
    return edge;
  }

  /** A request through one of the Envoys, on a connection of its own. */
  through(name: string, path: string): Promise<HttpAnswer> {
    return send(`http://127.0.0.1:${this.edge(name).port}${path}`);
  }

  /** Constant traffic on new and on kept connections of one Envoy; every answer must be the echo's to `path`. */
  load(name: string, path: string, answer: string): RunningLoad {
    return startLoad({
      host: '127.0.0.1',
      port: this.edge(name).port,
      path,
      rate: 25,
      lanes: ['new', 'busy'],
      timeoutMs: 8_000,
      expect: (status, body) => (status !== 200 ? 'wrong status' : body === answer ? 'ok' : 'wrong body'),
    });
  }

  async dispose(): Promise<void> {
    await end(this.dev, this.#echo, this.#extra);
  }
}

/** Starts an agent as an operator would on another machine: with a token of its own, its own folder and ports, and the worker's address. */
async function startAgent(dev: DevHarness, target: string, port: number): Promise<ChildProcess> {
  const made = await dev.api('/v1/tokens', { method: 'POST', body: { name: `agent of ${target}`, scopes: [`agent:${target}`] } });
  if (made.status !== 201) throw new Error(`no token for the agent: ${made.status} ${made.text}`);
  const house = environmentOf(dev.pidOf('agent'));
  const child = spawn(process.execPath, [join(checkout, 'dist/apps/agent/src/main.js'), '--envoy-on-exit=stop'], {
    env: {
      PATH: process.env.PATH,
      ENVOY_PATH: house.get('ENVOY_PATH'),
      CHANCERY_AGENT_TARGET: target,
      CHANCERY_AGENT_WORKER: house.get('CHANCERY_AGENT_WORKER'),
      CHANCERY_AGENT_TOKEN: (made.json as { token: string }).token,
      CHANCERY_AGENT_DATA: join(dev.data, target), // below the house's folder, whose disposal ends every Envoy in it
      CHANCERY_AGENT_HTTP_LISTEN: `127.0.0.1:${port}`,
      CHANCERY_AGENT_CONCURRENCY: '1',
    },
    stdio: 'ignore',
  });
  const path = `/v1/gateways/default/targets/${target}`;
  await dev.until(
    () => dev.api(path),
    ({ json }) => Number((json as { epoch?: number } | undefined)?.epoch ?? -1) >= 0,
    START_DEADLINE_MS,
  );
  return child;
}

/** What the supervisor told a process of its house. */
function environmentOf(pid: number): ReadonlyMap<string, string> {
  const entries = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  return new Map(entries.map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]));
}

async function end(dev: DevHarness, echo: Server, extra: readonly ChildProcess[]): Promise<void> {
  const ended = extra.map(
    (child) =>
      new Promise<void>((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) resolve();
        else child.once('exit', () => resolve());
        const force = setTimeout(() => child.kill('SIGKILL'), 10_000);
        child.once('exit', () => clearTimeout(force));
        child.kill('SIGCONT'); // one that a failed test left paused would never hear the next
        child.kill('SIGTERM');
      }),
  );
  await Promise.all(ended);
  await dev.dispose();
  echo.closeAllConnections();
  await new Promise((resolve) => echo.close(resolve));
}

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { DevHarness, type HttpAnswer } from '../support/dev-harness.js';

const g = '/v1/gateways/default';

export interface LiveTarget {
  readonly name: string;
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

  async dispose(): Promise<void> {
    await this.dev.dispose();
    this.#echo.closeAllConnections();
    await new Promise((resolve) => this.#echo.close(resolve));
  }
}

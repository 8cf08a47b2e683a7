import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';

import type { ApiAccess } from '#platform/kubernetes/api-connection.js';

import { DevHarness, type HttpAnswer } from '../support/dev-harness.js';
import { type ApiUnderTest, ClusterObjects } from './api-under-test.js';

/** An instance of a service that answers with its own name. Its address is not loopback: no EndpointSlice may have one. */
export class Instance {
  readonly name: string;
  readonly server: Server;
  readonly address: string;

  private constructor(name: string, server: Server, address: string) {
    this.name = name;
    this.server = server;
    this.address = address;
  }

  static async start(name: string): Promise<Instance> {
    const server = createServer((request, response) => {
      response.setHeader('x-instance', name);
      response.end(`${name} ${request.url}`);
    });
    server.keepAliveTimeout = 60_000;
    const address = ownAddress();
    await new Promise<void>((resolve) => server.listen(0, address, resolve));
    return new Instance(name, server, address);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** An endpoint of a slice whose port is this instance's. */
  endpoint(conditions: object = { ready: true }): object {
    return { addresses: [this.address], conditions };
  }

  /** Ends as a pod does that was told to: what runs is finished, then it is gone. */
  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.server.close(resolve));
    this.server.closeIdleConnections();
    await ended;
  }

  async kill(): Promise<void> {
    const ended = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await ended;
  }
}

/** A development house that looks for its services in Kubernetes. */
export class ClusterHouse {
  readonly dev: DevHarness;
  readonly objects: ClusterObjects;
  readonly folder: string;

  private constructor(dev: DevHarness, objects: ClusterObjects, folder: string) {
    this.dev = dev;
    this.objects = objects;
    this.folder = folder;
  }

  static async start(api: ApiUnderTest, access: ApiAccess = api.access): Promise<ClusterHouse> {
    const folder = mkdtempSync(join(tmpdir(), 'chancery-cluster-'));
    const kubeconfig = join(folder, 'kubeconfig');
    writeFileSync(kubeconfig, await kubeconfigOf(access, folder));
    const dev = await DevHarness.start({
      args: ['--no-demo'],
      env: { CHANCERY_KUBERNETES: 'kubeconfig', CHANCERY_KUBECONFIG: kubeconfig },
    });
    return new ClusterHouse(dev, new ClusterObjects(api.access), folder);
  }

  map(name: string, body: object): Promise<HttpAnswer> {
    return this.dev.api(`/ambassador/mapping/${name}`, { method: 'POST', body });
  }

  /** Asks on new connections until the gateway answers this. */
  answers(path: string, fits: (answer: HttpAnswer) => boolean, deadlineMs = 20_000): Promise<HttpAnswer> {
    return this.dev.until(() => this.dev.through(path), fits, deadlineMs);
  }

  async dispose(): Promise<void> {
    this.objects.close();
    await this.dev.dispose();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A kubeconfig for these credentials; what it names is written to the folder. */
export async function kubeconfigOf({ server, credentials }: ApiAccess, folder: string): Promise<string> {
  const { ca, headers } = await credentials();
  const token = String((headers as Record<string, string>).authorization).slice('Bearer '.length);
  if (ca !== undefined) writeFileSync(join(folder, 'ca.crt'), ca as Buffer);
  const trust = ca === undefined ? { 'insecure-skip-tls-verify': true } : { 'certificate-authority': join(folder, 'ca.crt') };
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    clusters: [{ name: 'test', cluster: { server, ...trust } }],
    users: [{ name: 'test', user: { token } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test', namespace: 'default' } }],
  });
}

/** An address of this machine that is neither loopback nor link-local. */
export function ownAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const own = all.find(({ internal, family, address }) => !internal && family === 'IPv4' && !address.startsWith('169.254.'));
  if (own === undefined) throw new Error('this machine has no address but loopback, which no EndpointSlice may have');
  return own.address;
}

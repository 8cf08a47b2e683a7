import { fileURLToPath } from 'node:url';

import { findFreePort } from '#platform/network/listening-port.js';

import { ageMs, residentMb, StartedProcess, untilSo } from '../machine/started-process.js';
import { caddyConfig, runCaddy } from '../peers/caddy-peer.js';
import { pathOf, routeHeader, type Site } from '../peers/contender.js';
import { startEnvoyGateway } from '../peers/envoy-gateway-peer.js';
import { untilServing } from '../peers/probe.js';
import { startProduct } from '../peers/product.js';

/** What was measured of one of them with so many routes. */
export interface Footprint {
  /** Milliseconds from the start of what pushes to the first push that serves; several starts. */
  readonly startMs: readonly number[];
  /** Resident memory by process, MB. */
  readonly memoryMb: Readonly<Record<string, number>>;
}

/** A route that nobody has written yet: its change is made while what would push it is away. */
const FRESH = 1_000_000;

/**
 * The worker is killed, a change is made while it is away, and the clock runs from the birth of the worker that bin/dev starts in its place until
 * the change serves on a new connection.
 */
export async function measureProduct(site: Site, starts: number): Promise<Footprint> {
  const product = await startProduct(site);
  try {
    const startMs: number[] = [];
    await product.create(FRESH, 'r0');
    await untilServing(product, { route: FRESH, path: pathOf(FRESH), revision: 'r0' });
    for (let n = 1; n <= starts; n++) {
      const restarted = product.dev.killAndAwait('worker').then((pid) => performance.now() - ageMs(pid));
      await product.update(FRESH, `r${n}`);
      await untilServing(product, { route: FRESH, path: pathOf(FRESH), revision: `r${n}` });
      const servesAt = performance.now();
      startMs.push(servesAt - (await restarted));
    }
    const names = ['worker', 'api', 'projector', 'agent', 'envoy'];
    return { startMs, memoryMb: Object.fromEntries(names.map((name) => [name, residentMb([product.dev.pidOf(name)])])) };
  } finally {
    await product.stop();
  }
}

/** From the start of the process with its configuration until the last route serves. */
export async function measureCaddy(site: Site, starts: number): Promise<Footprint> {
  const listen = await findFreePort(new Set());
  const admin = await findFreePort(new Set([listen]));
  const config = caddyConfig(site, { listen, admin, routes: site.routes });
  const startMs: number[] = [];
  let memoryMb = {};
  for (let n = 0; n < starts; n++) {
    const began = performance.now();
    const server = runCaddy(site.folder, config);
    await untilServing({ host: '127.0.0.1', port: listen, answer: routeHeader }, { route: site.routes - 1, path: pathOf(site.routes - 1) });
    startMs.push(performance.now() - began);
    memoryMb = { caddy: residentMb([server.pid]) };
    await server.stop();
  }
  return { startMs, memoryMb };
}

/** As Chancery's worker: the controller is killed, a change is made meanwhile, and the clock runs from its start until that serves. */
export async function measureEnvoyGateway(site: Site, starts: number): Promise<Footprint> {
  const gateway = await startEnvoyGateway(site);
  try {
    const startMs: number[] = [];
    await gateway.create(FRESH, 'r0');
    await untilServing(gateway, { route: FRESH, path: pathOf(FRESH), revision: 'r0' });
    for (let n = 1; n <= starts; n++) {
      await gateway.restart(() => gateway.update(FRESH, `r${n}`));
      const began = performance.now();
      await untilServing(gateway, { route: FRESH, path: pathOf(FRESH), revision: `r${n}` });
      startMs.push(performance.now() - began);
    }
    const [controller = 0, etcd = 0, api = 0] = gateway.control;
    const memoryMb = {
      controller: residentMb([controller]),
      'kube-apiserver': residentMb([api]),
      etcd: residentMb([etcd]),
      envoy: residentMb(gateway.data),
    };
    return { startMs, memoryMb };
  } finally {
    await gateway.stop();
  }
}

/** Milliseconds from the start of a process until its NestJS application of nothing listens. */
export async function measureEmptyNest(folder: string, starts: number): Promise<readonly number[]> {
  const startMs: number[] = [];
  for (let n = 0; n < starts; n++) {
    const began = performance.now();
    const program = fileURLToPath(new URL('empty-nest.ts', import.meta.url));
    const nest = new StartedProcess({ command: process.execPath, words: [...process.execArgv, program], folder, name: 'nest', talk: true });
    let said = '';
    nest.child.stdout?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    await untilSo('an empty NestJS application listens', () => said.includes('listens'), { of: nest, everyMs: 1 });
    startMs.push(performance.now() - began);
    await nest.stop();
  }
  return startMs;
}

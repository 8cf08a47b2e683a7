import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

import { afterEach, expect, jest, test } from '@jest/globals';

import { readManifests } from '../kubernetes/manifests.js';
import { startHttp2Load } from '../load/h2-client.js';
import { type LoadOptions, lostCount, startLoad } from '../load/load-client.js';
import { Balancer } from './balancer.js';
import { FaultHouse } from './fault-house.js';

jest.setTimeout(240_000);

interface EdgePod {
  readonly terminationGracePeriodSeconds: number;
  readonly containers: readonly [
    {
      readonly env: readonly { readonly name: string; readonly value?: string }[];
      readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
      readonly readinessProbe: unknown;
      readonly lifecycle: { readonly preStop: { readonly sleep: { readonly seconds: number } } };
    },
  ];
}

/** How long the agent takes beside the time that clients have (STOP_DEADLINE_MS of apps/agent). */
const GOODBYE_S = 9;
/** In place of the manifest's 15 s, and how long a Service takes to hear of a pod that ends: well within. Nobody waits for either. */
const [PRE_STOP_MS, ENDPOINTS_MS] = [1_000, 400];
/** Longer than an Envoy is used to be given when it is ended, shorter than the manifest gives it. */
const SLOW_MS = 3_000;

const edge = readManifests('base').find(({ kind }) => kind === 'StatefulSet') as unknown as { spec: { template: { spec: EdgePod } } };
const pod = edge.spec.template.spec;
const [container] = pod.containers;
const given = new Map(container.env.map(({ name, value }) => [name, value ?? '']));

let house: FaultHouse;
let balancer: Balancer | undefined;
let service: Server | undefined;
let running: { stop(): Promise<unknown> }[] = [];
afterEach(async () => {
  await Promise.all(running.map((load) => load.stop()));
  running = [];
  await balancer?.close();
  await house?.close();
  service?.closeAllConnections();
  await new Promise((resolve) => (service === undefined ? resolve(undefined) : service.close(resolve)));
});

/** A service that takes its time: `/slow/` for the head, `/stream/` for the body. */
async function startService(): Promise<string> {
  const server = createServer((request, response) => {
    if (!request.url?.startsWith('/stream/')) {
      setTimeout(() => response.end(request.url), SLOW_MS);
      return;
    }
    let left = 30;
    const timer = setInterval(() => {
      response.write('.');
      if (--left > 0) return;
      clearInterval(timer);
      response.end(request.url);
    }, SLOW_MS / 30);
    response.once('close', () => clearInterval(timer));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  service = server;
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The manifest's readiness probe: somebody takes connections at the port. */
function isReady(name: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port: house.node(name).port });
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** What is in the manifest for what becomes of the pod at its end. */
const ofTheManifest = Object.fromEntries([...given].filter(([name]) => /^CHANCERY_AGENT_(ENVOY_ON_EXIT|EXIT_GRACE_S)$/.test(name)));

/** One pod of the StatefulSet is replaced: the Service hears of it while `preStop` runs, SIGTERM, the end; then under its name, with its disk, the next one. */
async function replacePod(name: string): Promise<number> {
  const node = house.node(name);
  const began = performance.now();
  const heard = sleep(ENDPOINTS_MS).then(() => balancer?.remove(name));
  await Promise.all([heard, sleep(PRE_STOP_MS)]);
  await node.agent?.kill('SIGTERM', 1000 * pod.terminationGracePeriodSeconds);
  const lasted = performance.now() - began;
  expect(await isReady(name)).toBe(false);
  node.startAgent(ofTheManifest);
  await house.until(`${name} is ready`, () => isReady(name), 40_000);
  balancer?.admit(name, node.port);
  return lasted;
}

test('pods give their clients as long as the manifest says, and end before they are killed', () => {
  expect(container.readinessProbe).toEqual({ tcpSocket: { port: 'http' }, periodSeconds: 5 });
  expect(given.get('CHANCERY_AGENT_ENVOY_ON_EXIT')).toBe('stop');
  const { seconds } = container.lifecycle.preStop.sleep;
  expect(seconds + Number(given.get('CHANCERY_AGENT_EXIT_GRACE_S')) + GOODBYE_S).toBeLessThan(pod.terminationGracePeriodSeconds);
});

test('a rolling update of the gateway’s pods under load loses nothing: new connections, kept ones, HTTP/2, slow answers, long bodies', async () => {
  house = await FaultHouse.start({ nodes: [], workers: 1 });
  for (const name of ['edge-0', 'edge-1']) {
    await house.addNode(name);
    await house.node(name).agent?.kill('SIGTERM');
    house.node(name).startAgent(ofTheManifest);
  }
  const slow = await startService();
  for (const name of ['slow', 'stream'])
    await house.must(`/mappings/${name}`, {
      method: 'PUT',
      body: { prefix: `/${name}/`, service: slow, rewrite: `/${name}/`, timeoutMs: 10_000 },
    });
  await house.converged(await house.write(), { withinMs: 40_000 });
  balancer = await Balancer.start();
  for (const [name, { port }] of house.nodes) balancer.admit(name, port);

  const { port } = balancer;
  const to = (path: string, expected: string, more: Pick<LoadOptions, 'rate' | 'lanes'>) =>
    startLoad({
      ...{ host: '127.0.0.1', port, path, timeoutMs: 15_000, ...more },
      expect: (status, body) => (status !== 200 ? 'wrong status' : body === expected ? 'ok' : 'wrong body'),
    });
  const loads = {
    quick: to('/stable/x', '/x', { rate: 50, lanes: ['new', 'busy'] }),
    slow: to('/slow/x', '/slow/x', { rate: 4, lanes: ['new', 'busy'] }),
    stream: to('/stream/x', `${'.'.repeat(30)}/stream/x`, { rate: 4, lanes: ['new', 'busy'] }),
  };
  const http2 = startHttp2Load({ port, path: '/stable/x', rate: 25 });
  running = [...Object.values(loads), http2];
  await house.until('there is traffic of each kind', () => Object.values(loads).every((load) => load.counts().ok > 4));
  const lasted: number[] = [];
  for (const name of house.nodes.keys()) {
    lasted.push(await replacePod(name));
    await house.write();
  }
  await house.converged(house.revision);
  for (const [kind, load] of Object.entries(loads)) {
    const result = await load.stop();
    expect({ kind, lost: lostCount(result), first: result.lost.slice(0, 3) }).toEqual({ kind, lost: 0, first: [] });
  }
  const { lost, connections } = await http2.stop();
  expect(lost).toEqual([]);
  expect(connections).toBeGreaterThan(1);
  process.stderr.write(`a pod took ${lasted.map((ms) => (ms / 1000).toFixed(1)).join(' and ')} s to end\n`);
  expect((await house.finish()).violations).toEqual([]);
});

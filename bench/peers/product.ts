import { DevHarness } from '../../test/support/dev-harness.js';
import { untilSo } from '../machine/started-process.js';
import { ENVOY_CONCURRENCY } from './bare-envoy.js';
import { type Contender, type Order, order, type Peer, pathOf, type Site } from './contender.js';
import { untilServing } from './probe.js';

/** This product, whole: `bin/dev` with its own Postgres (fsync on), and the REST that users call. */
export const product: Peer = {
  name: 'chancery',
  note: 'POST, PUT, DELETE of a mapping: validated, durable in Postgres with its audit record, pushed, proven',
  mostRoutes: 100_000,
  missing: () => undefined,
  start: startProduct,
};

export interface Product extends Contender {
  readonly dev: DevHarness;
  /** A request to `/v1/gateways/default/...`. */
  call(path: string, options: Order): Promise<string>;
}

/** A mapping as the bench writes it: the revision is the path that the service is asked for, which the service answers with. */
export function mappingOf(route: number, revision: string, upstreamPort: number) {
  return {
    name: `svc${route}`,
    prefix: `/svc${route}/`,
    rewrite: `/svc${route}-${revision}/`,
    service: `127.0.0.1:${upstreamPort}`,
  };
}

/** A gateway has at most so many mappings; a few are left for the bench to create. */
const MOST_MAPPINGS = 100_000;
const ROOM = 10;
export const MOST_ROUTES = MOST_MAPPINGS - ROOM;

/** @param env Further environment of `bin/dev`. */
export async function startProduct(site: Site, env: Readonly<Record<string, string>> = {}): Promise<Product> {
  const dev = await DevHarness.start({
    args: ['--no-demo'],
    env: { ENVOY_PATH: site.envoy, CHANCERY_AGENT_CONCURRENCY: String(ENVOY_CONCURRENCY), CHANCERY_LOG_LEVEL: 'error', ...env },
  });
  const product = productOf(dev, site.upstreamPort);
  try {
    await deliverLive(product);
    const routes = Math.min(site.routes, MOST_ROUTES);
    if (routes > 0) {
      await importMappings(product, routes, site.upstreamPort);
      await untilServing(product, { route: routes - 1, path: pathOf(routes - 1) });
    }
    return product;
  } catch (error) {
    await dev.dispose();
    throw error;
  }
}

/** Waits for the one restart that it takes, so that nothing that is measured meets it. */
async function deliverLive(product: Product): Promise<void> {
  await product.call('settings', { method: 'PATCH', body: JSON.stringify({ delivery: 'live' }), headers: { 'if-match': '*' } });
  const isLive = async () => {
    const { items } = JSON.parse(await product.call('targets', { method: 'GET' })) as { items: Target[] };
    return items.length > 0 && items.every((target) => target.delivery === 'live' && target.provenVersion === target.desiredVersion);
  };
  await untilSo('every target is delivered to live', isLive, { everyMs: 50 });
}

interface Target {
  readonly delivery: string;
  readonly provenVersion: number | null;
  readonly desiredVersion: number;
}

/** All mappings by one import: one version. */
export function importMappings(product: Pick<Product, 'call'>, routes: number, upstreamPort: number, revision = 'v0'): Promise<string> {
  const mappings = Array.from({ length: routes }, (_, route) => mappingOf(route, revision, upstreamPort));
  return product.call('config?prune=true', { method: 'PUT', body: JSON.stringify({ mappings }), headers: { 'if-match': '*' } });
}

function productOf(dev: DevHarness, upstreamPort: number): Product {
  const base = `${dev.ready.api}/v1/gateways/default/`;
  const headers = { authorization: `Bearer ${dev.ready.token}` };
  const json = { ...headers, 'content-type': 'application/json' };
  const call = (path: string, options: Order) =>
    order(base + path, { ...options, headers: { ...(options.body === undefined ? headers : json), ...options.headers } });
  const body = (route: number, revision: string) => JSON.stringify(mappingOf(route, revision, upstreamPort));
  return {
    dev,
    call,
    host: '127.0.0.1',
    port: Number(new URL(dev.ready.gateway).port),
    answer: (route, revision) => `x-echo: /svc${route}-${revision}/x\r\n`,
    create: (route, revision) => call('mappings', { method: 'POST', body: body(route, revision) }).then(() => undefined),
    update: (route, revision) => call(`mappings/svc${route}`, { method: 'PUT', body: body(route, revision) }).then(() => undefined),
    remove: (route) => call(`mappings/svc${route}`, { method: 'DELETE' }).then(() => undefined),
    control: [dev.pidOf('api'), dev.pidOf('worker'), dev.pidOf('projector'), dev.pidOf('agent')],
    data: [dev.pidOf('envoy')],
    stop: () => dev.dispose(),
  };
}

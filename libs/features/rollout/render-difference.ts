import { gatewaySettingsOf } from '#features/gateway/gateway.envoy.js';
import { mappingOf } from '#features/mapping/mapping.envoy.js';
import type { Listener } from '#platform/envoy/model/bootstrap.js';
import type { Route, VirtualHost } from '#platform/envoy/model/route.js';
import { type Difference, jsonDiff } from '#platform/http/json-diff.js';
import type { Json, JsonObject } from '#platform/kernel/json.js';

import { compile, type Rendered } from './compile.js';

/** A gateway at one version: the states of all its subjects, in today's shape, by subject. Plain data, so that a thread can be given it. */
export interface GatewayStates {
  readonly version: number;
  readonly subjects: readonly (readonly [subject: string, state: JsonObject])[];
}

/** One thing of Envoy's configuration that is not what it was. Routes are called `<virtual host>/<route>`: a mapping's route stands in several hosts. */
export interface RenderChange {
  readonly resource: 'bootstrap' | 'listener' | 'virtual_host' | 'route' | 'cluster';
  readonly name: string;
  readonly op: 'added' | 'removed' | 'changed';
  readonly diff: readonly Difference[];
}

export interface RenderDifference {
  readonly changes: readonly RenderChange[];
  /** Of this comparison's renders: a target's own render has its secret and its listeners in it. Null where nothing is rendered: before the first version. */
  readonly renderSha256: { readonly before: string | null; readonly after: string | null };
}

/**
 * What changes in Envoy's configuration from one state of a gateway to another; null is the state before its first version. Rendered for comparison
 * only, and alike on both sides: where the settings say to listen, no endpoints, nothing set aside, an empty proof secret. So it shows what the
 * configuration alone makes of Envoy, not what discovery or a node add to it.
 */
export function renderDifference(gateway: string, before: GatewayStates | null, after: GatewayStates | null): RenderDifference {
  const [old, young] = [before, after].map((states) => (states === null ? undefined : forComparison(gateway, states)));
  const [oldParts, youngParts] = [toParts(old), toParts(young)];
  const changes = resources.flatMap((resource) => changesOf(resource, oldParts[resource], youngParts[resource]));
  return { changes, renderSha256: { before: old?.renderSha256 ?? null, after: young?.renderSha256 ?? null } };
}

function forComparison(gateway: string, { version, subjects }: GatewayStates): Rendered {
  const settings = subjects.find(([subject]) => subject === 'gateway')?.[1] ?? {};
  return compile({
    gateway,
    version,
    settings: gatewaySettingsOf(settings),
    mappings: subjects.flatMap(([subject, state]) =>
      subject.startsWith('mapping/') ? [mappingOf(subject.slice('mapping/'.length), state)] : [],
    ),
    endpoints: new Map(),
    setAside: new Map(),
    node: { http: null, https: null, proofSecret: '' },
  });
}

/** From the whole to its parts, in the order in which they are answered. */
const resources = ['bootstrap', 'listener', 'virtual_host', 'route', 'cluster'] as const;

/** A render taken apart: each resource by its name, without the resources that stand within it. */
type Parts = Readonly<Record<RenderChange['resource'], ReadonlyMap<string, Json>>>;

function toParts(rendered: Rendered | undefined): Parts {
  const parts = { bootstrap: new Map(), listener: new Map(), virtual_host: new Map(), route: new Map(), cluster: new Map() } as Record<
    RenderChange['resource'],
    Map<string, Json>
  >;
  if (rendered === undefined) return parts;
  const { static_resources, ...rest } = rendered.bootstrap;
  parts.bootstrap.set('bootstrap', plain(rest));
  for (const listener of static_resources.listeners) {
    parts.listener.set(listener.name, plain(withoutHosts(listener)));
    for (const host of hostsOf(listener)) takeHost(parts, host);
  }
  for (const cluster of rendered.clusters) parts.cluster.set(cluster.name, plain(cluster));
  return parts;
}

function takeHost(parts: Record<'virtual_host' | 'route', Map<string, Json>>, { routes, ...host }: VirtualHost): void {
  const byName = new Map<string, Route[]>();
  for (const route of routes) {
    const known = byName.get(route.name);
    if (known === undefined) byName.set(route.name, [route]);
    else known.push(route);
  }
  // The names in the order in which they are asked: a change of the order alone is a change of the host.
  parts.virtual_host.set(host.name, plain({ ...host, routes: [...byName.keys()] }));
  for (const [name, all] of byName) parts.route.set(`${host.name}/${name}`, plain(all.length === 1 ? all[0] : all));
}

function hostsOf(listener: Listener): readonly VirtualHost[] {
  return listener.filter_chains.flatMap(({ filters }) => filters.flatMap(({ typed_config }) => typed_config.route_config.virtual_hosts));
}

function withoutHosts(listener: Listener): object {
  const chains = listener.filter_chains.map((chain) => ({
    ...chain,
    filters: chain.filters.map(({ typed_config, ...filter }) => {
      const { virtual_hosts: _elsewhere, ...routes } = typed_config.route_config;
      return { ...filter, typed_config: { ...typed_config, route_config: routes } };
    }),
  }));
  return { ...listener, filter_chains: chains };
}

function changesOf(
  resource: RenderChange['resource'],
  before: ReadonlyMap<string, Json>,
  after: ReadonlyMap<string, Json>,
): RenderChange[] {
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  return names.flatMap((name): RenderChange[] => {
    const [old, young] = [before.get(name) ?? null, after.get(name) ?? null];
    if (JSON.stringify(old) === JSON.stringify(young)) return []; // one compiler wrote both; where only the order differs, the difference is empty
    const op = old === null ? 'added' : young === null ? 'removed' : 'changed';
    const both = resource === 'virtual_host' && op === 'changed' ? comparedOrder(old, young) : [old, young];
    const diff = jsonDiff(both[0] ?? null, both[1] ?? null);
    return diff.length === 0 ? [] : [{ resource, name, op, diff }];
  });
}

/** A route that came or went is told as a route; its host has changed only when those that stayed are asked in another order. */
function comparedOrder(before: Json, after: Json): [Json, Json] {
  const [old, young] = [before as Hosted, after as Hosted];
  const [had, has] = [new Set(old.routes), new Set(young.routes)];
  return [
    { ...old, routes: old.routes.filter((name) => has.has(name)) },
    { ...young, routes: young.routes.filter((name) => had.has(name)) },
  ];
}

type Hosted = { readonly [key: string]: Json } & { readonly routes: readonly string[] };

/** Our typed model is JSON already. */
function plain(value: unknown): Json {
  return value as Json;
}

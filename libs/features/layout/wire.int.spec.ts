import { rootCertificates } from 'node:tls';

import { expect, jest, test } from '@jest/globals';
import { toScopedListener } from '#features/gateway/listener.envoy.js';
import { planMapping, streamIdleTimeoutMs } from '#features/mapping/mapping.envoy.js';
import { aMapping } from '#features/mapping/mapping.fixture.js';
import { streamedCluster, trustSecret } from '#features/mapping/mapping-cluster.envoy.js';
import type { MappingState } from '#features/mapping/mapping-state.js';
import { EXTENSION_TYPE, SCOPED_ROUTE_TYPE } from '#platform/xds/xds-resource.js';

import { classOf } from './host-class.js';
import { proofSecret, startEcho, startLiveEnvoy } from './live-envoy.fixture.js';
import { LiveTable } from './live-table.js';
import { scoped } from './node-resources.js';
import { type Entry, Shard, shardModel } from './shard.js';
import { shardFilter } from './shard-filter.envoy.js';

jest.setTimeout(60_000);

/** Protobuf's JSON leaves defaults out; the model says some of them. */
function normal(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? undefined : value.map(normal);
  if (typeof value !== 'object' || value === null) return value === false || value === 0 || value === '' ? undefined : value;
  const members = Object.entries(value).map(([key, member]) => [key, normal(member)] as const);
  return Object.fromEntries(
    members.filter(([key, member]) => member !== undefined && !isDefault(key, member)).sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}

function isDefault(key: string, member: unknown): boolean {
  return (
    member === 'DEFAULT' ||
    member === 'AUTO' ||
    (key === '@type' && /(Listener|Cluster|ScopedRouteConfiguration|Secret|TypedExtensionConfig)$/.test(String(member)))
  );
}

const mappings: MappingState[] = [
  aMapping('plain'),
  aMapping('slashless', { prefix: '/slashless', rewrite: '/' }),
  aMapping('path', { path: '/p/q', rewrite: '/%41', methods: ['GET', 'POST'], headers: { 'x-a': '1', 'x-b': '% "q"' } }),
  aMapping('long', { prefix: '/long/', timeoutMs: 3_600_000, service: 'https://secure.example.com:8443' }),
  aMapping('short', { prefix: `/short/${'x'.repeat(2000)}`, timeoutMs: 1, service: '10.0.0.1:81' }),
  aMapping('literal', { service: 'https://[fd00::1]:8443' }),
  aMapping('aside', { prefix: '/aside/' }),
  aMapping('wildcard', { host: '*.example.com' }),
  aMapping('narrower', { host: '*.a.example.com' }),
  aMapping('host', { host: 'h.example.com' }),
];

test('Envoy reads in the bytes what the model says in JSON', async () => {
  const table = new LiveTable({ settings: { allowLoopbackUpstreams: true, perRouteStats: 'on' } });
  for (const mapping of mappings) table.put(mapping, mapping.name === 'aside' ? { code: 'envoy_refused', drop: false } : undefined);
  const echo = await startEcho();
  const live = await startLiveEnvoy(table, echo.port);
  try {
    const { configs } = JSON.parse((await live.envoy.admin('/config_dump?include_eds')).body) as { configs: Record<string, unknown>[] };
    const dump = (type: string) => configs.find((config) => String(config['@type']).endsWith(type)) as never;

    const {
      dynamic_scoped_route_configs: [scopes],
    } = dump('ScopedRoutesConfigDump') as { dynamic_scoped_route_configs: [{ scoped_route_configs: { name: string }[] }] };
    const read = new Map(scopes.scoped_route_configs.map((scope) => [scope.name, scope]));
    const scopesHeld = [...live.set.ofType(SCOPED_ROUTE_TYPE).keys()];
    expect([...read.keys()].sort()).toEqual(scopesHeld.sort());
    for (const name of scopesHeld.filter((key) => key !== 'reserved')) {
      const rows = table.mappingsOf(name).map((mapping) => entryOf(mappings.find((candidate) => candidate.name === mapping)));
      const marker = /[0-9a-f]{64}/.exec(JSON.stringify(read.get(name)))?.[0] ?? '';
      const model = JSON.stringify(shardModel(new Shard(name, 0, name === 'ar.1.0'), rows, true)).replace('0'.repeat(64), marker);
      expect(normal(read.get(name))).toEqual(normal(JSON.parse(model)));
    }

    const {
      dynamic_listeners: [listener],
    } = dump('ListenersConfigDump') as { dynamic_listeners: [{ active_state: { listener: object } }] };
    const settings = { idleTimeoutMs: 5000 };
    expect(normal(listener.active_state.listener)).toEqual(
      normal(toScopedListener({ http: { address: '127.0.0.1', port: 0 }, settings, streamIdleTimeoutMs }, scoped)),
    );

    const { dynamic_active_clusters: clusters } = dump('ClustersConfigDump') as {
      dynamic_active_clusters: { cluster: { name: string } }[];
    };
    expect(clusters.map(({ cluster }) => cluster.name).sort()).toEqual([...table.upstreams.keys()].sort());
    for (const { cluster } of clusters) {
      const service = table.upstreams.get(cluster.name);
      expect(normal(cluster)).toEqual(normal(service === undefined ? null : streamedCluster(cluster.name, service)));
    }

    const { dynamic_endpoint_configs: endpoints } = dump('EndpointsConfigDump') as {
      dynamic_endpoint_configs: { endpoint_config: object }[];
    };
    expect(endpoints.length).toBe(clusters.length);
    expect(JSON.stringify(endpoints)).toContain(`"port_value":${echo.port}`);

    const {
      dynamic_active_secrets: [secret],
    } = dump('SecretsConfigDump') as {
      dynamic_active_secrets: [{ secret: object }];
    };
    expect(normal(secret.secret)).toEqual(normal(trustSecret(rootCertificates)));

    const {
      ecds_filters: [filter],
    } = dump('EcdsConfigDump') as { ecds_filters: [{ ecds_filter: { name: string; typed_config: object } }] };
    expect(filter.ecds_filter.typed_config).toEqual(shardFilter(table.phases, proofSecret));
    expect(live.set.ofType(EXTENSION_TYPE).has(filter.ecds_filter.name)).toBe(true);
    expect(live.rejections).toEqual([]);
  } finally {
    await live.stop();
    echo.close();
  }
});

function entryOf(mapping: MappingState | undefined): Entry {
  if (mapping === undefined) throw new Error('no such mapping');
  const aside = mapping.name === 'aside' ? { code: 'envoy_refused', drop: false } : undefined;
  expect(classOf(mapping.host)).toMatch(/[ewa]/);
  return { mapping, aside, outcome: planMapping(mapping, aside, true).outcome, shard: null };
}

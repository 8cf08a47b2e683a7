import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { aMapping } from '#features/mapping/mapping.fixture.js';
import { MARKER_PATH, NEXT_HEADER, PROBE_HOST, PROOF_HEADER, SET_ASIDE_HEADER, SHARD_HEADER } from '#platform/envoy/model/reserved.js';

import { type LiveEnvoy, proofSecret, startEcho, startLiveEnvoy } from './live-envoy.fixture.js';
import { LiveTable } from './live-table.js';
import { ordinarySizing } from './shard-plan.js';
import { shardProbes } from './shard-probes.js';

jest.setTimeout(60_000);
const settings = { allowLoopbackUpstreams: true, perRouteStats: 'on' } as const;

describe('an Envoy with its table in shards', () => {
  const table = new LiveTable({ settings });
  let live: LiveEnvoy;
  let echo: Awaited<ReturnType<typeof startEcho>>;

  beforeAll(async () => {
    const mappings = [
      aMapping('user', { prefix: '/user/' }),
      aMapping('cross', { prefix: '/us', rewrite: '/' }),
      aMapping('path', { path: '/ping', rewrite: '/100%25/%41' }),
      aMapping('aside', { prefix: '/aside/' }),
      aMapping('host', { host: 'a.example.com', prefix: '/h/', headers: { 'x-a': '%1' }, methods: ['GET', 'POST'] }),
      aMapping('host-cross', { host: 'a.example.com', prefix: '/hos', timeoutMs: 400_000 }),
      aMapping('wildcard', { host: '*.example.com', prefix: '/w/' }),
      aMapping('narrower', { host: '*.a.example.com', prefix: '/w/', precedence: -1 }),
      aMapping('wildcard-cross', { host: '*.example.com', prefix: '/wi', service: 'https://secure:8443' }),
      aMapping('all', { prefix: '/', rewrite: '/all/' }),
    ];
    for (const mapping of mappings) table.put(mapping, mapping.name === 'aside' ? { code: 'envoy_refused', drop: false } : undefined);
    echo = await startEcho();
    live = await startLiveEnvoy(table, echo.port);
  });

  afterAll(async () => {
    await live?.stop();
    echo?.close();
  });

  const seen = async (path: string, headers: Record<string, string> = {}) => JSON.parse((await live.get(path, { headers })).body);

  test.each([
    ['/user/health?x=1', 'any', '/health?x=1'],
    ['/us/x', 'any', '/x'],
    ['/user', 'any', '/er'],
    ['/ping', 'any', '/100%25/%41'],
    ['/ping?x', 'any', '/100%25/%41?x'],
    ['/', 'any', '/all/'],
    ['/else', 'any', '/all/else'],
    ['/else', 'a.example.com', '/all/else'],
    ['/hostess', 'A.EXAMPLE.COM:80', '/tess'],
    ['/user/x', 'a.example.com', '/x'],
    ['/w/x', 'b.example.com', '/x'],
    ['//w/./x', 'b.a.example.com', '/x'],
  ])('%s of %s reaches the service as %s', async (path, host, expected) => {
    expect((await seen(path, { host })).url).toBe(expected);
  });

  test('the mapping is counted that served, and nothing else', async () => {
    const count = async (name: string) => {
      const { body } = await live.envoy.admin(`/stats?filter=\\.route\\.${name}\\.upstream_rq_completed`);
      return Number(/: (\d+)/.exec(body)?.[1] ?? 0);
    };
    const before = [await count('all'), await count('host-cross')];
    for (let i = 0; i < 5; i++) await seen('/hostess', { host: 'a.example.com' });
    for (let i = 0; i < 7; i++) await seen('/nothing-else', { host: 'a.example.com' });
    expect([await count('all'), await count('host-cross')]).toEqual([(before[0] ?? 0) + 7, (before[1] ?? 0) + 5]);
    const { body } = await live.envoy.admin('/stats?filter=no_cluster|chancery-none.*rq_total');
    expect(body.split('\n').filter((line) => /: [1-9]/.test(line))).toEqual([]);
    expect((await live.envoy.admin('/stats?filter=rds')).body).toBe('');
  });

  test('the headers of the filters are no way in, and do not get out', async () => {
    const forged = { host: 'a.example.com', [SHARD_HEADER]: 'ar.1.0', [NEXT_HEADER]: 'ar.1.0 ar.1.0' };
    const { url, headers } = await seen('/hostess', forged);
    expect(url).toBe('/tess');
    expect(Object.keys(headers).filter((name) => name.startsWith('x-chancery'))).toEqual([]);
  });

  test('what is set aside says so, and why', async () => {
    const answer = await live.get('/aside/x');
    expect([answer.status, answer.headers[SET_ASIDE_HEADER]]).toEqual([503, 'envoy_refused']);
  });

  test('marker and shards answer the secret only', async () => {
    const proof = { host: PROBE_HOST, [PROOF_HEADER]: proofSecret };
    expect((await live.get(MARKER_PATH, { headers: proof })).body).toBe(live.marker);
    const probes = shardProbes({ upserts: [...live.set] });
    expect(probes.length).toBeGreaterThanOrEqual(6);
    for (const { path, body } of probes) {
      expect([path, (await live.get(path, { headers: proof })).body]).toEqual([path, body]);
      expect((await live.get(path, { headers: { host: PROBE_HOST } })).status).toBe(404);
      expect((await live.get(path, { headers: { ...proof, [PROOF_HEADER]: 'wrong' } })).status).toBe(404);
    }
    for (const path of [MARKER_PATH, '/.well-known/chancery/', '/.well-known/chancery/shard/', '/.well-known/chancery/shard/none']) {
      expect((await live.get(path)).status).toBe(404);
    }
  });

  test('a change is answered for by the marker of its shard, and a cluster that nobody names goes', async () => {
    table.put(aMapping('user', { prefix: '/user/', rewrite: '/changed/', service: 'fresh' }));
    const change = table.changes();
    await live.apply(change);
    const [probe] = shardProbes(change);
    const proof = { host: PROBE_HOST, [PROOF_HEADER]: proofSecret };
    expect((await live.get(probe?.path ?? '', { headers: proof })).body).toBe(probe?.body);
    expect((await seen('/user/x')).url).toBe('/changed/x');
    table.put(aMapping('user', { prefix: '/user/', service: 'usersvc' }));
    expect(table.changes().removed).toEqual([expect.objectContaining({ name: 'http-fresh-80' })]);
  });

  test('Envoy had nothing to refuse', () => {
    expect(live.rejections).toEqual([]);
  });
});

test('no request is lost while a table grows from nothing through every count of shards, and back', async () => {
  const seed = Number(process.env.CHANCERY_SEED ?? Math.trunc(Math.random() * 2 ** 31));
  const sizing = { ...ordinarySizing, fewestRows: 4, mostRows: 20, rowsToAimAt: 8, crowd: 20 };
  const table = new LiveTable({ settings: { ...settings, perRouteStats: 'off' }, sizing });
  table.put(aMapping('kept', { prefix: '/kept/' }));
  const echo = await startEcho();
  const live = await startLiveEnvoy(table, echo.port);
  let isOver = false;
  const statuses: Record<number, number> = {};
  const lane = async () => {
    while (!isOver) {
      const { status } = await live.get('/kept/x', { headers: { host: 'h3.example.com' } });
      statuses[status] = (statuses[status] ?? 0) + 1;
    }
  };
  const lanes = [lane(), lane()];
  const shapes = fc.sample(fc.constantFrom('*', 'h3.example.com', '*.example.com'), { numRuns: 700, seed });
  const grown = shapes.map((host, i) => aMapping(`m${i}`, { host, prefix: i % 3 === 0 ? `/k${i}` : `/k${i}/` }));
  try {
    for (let i = 0; i < grown.length; i += 20) {
      for (const mapping of grown.slice(i, i + 20)) table.put(mapping);
      await live.settle();
    }
    expect(table.phases.filter(({ shards }) => shards > 1).length).toBeGreaterThan(1);
    expect((await live.get('/k3', { headers: { host: grown[3]?.host.replace('*', 'x') ?? '' } })).status).toBe(200);
    for (let i = 0; i < grown.length; i += 20) {
      for (const { name } of grown.slice(i, i + 20)) table.remove(name);
      await live.settle();
    }
  } finally {
    isOver = true;
    await Promise.all(lanes);
    await live.stop();
    echo.close();
  }
  expect(live.rejections).toEqual([]);
  expect({ seed, statuses }).toEqual({ seed, statuses: { 200: expect.any(Number) } });
});

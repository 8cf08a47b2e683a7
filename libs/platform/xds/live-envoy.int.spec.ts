import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { freePort } from '#platform/envoy/envoy.fixture.js';
import { encodeDelta } from './envoy-frames.js';
import { badCluster, edsCluster, endpoints, listener, scope, scopeFilter } from './envoy-messages.fixture.js';
import { LiveEnvoy, load, TestControlPlane, until, upstream } from './live-envoy.fixture.js';
import { ResourceSet } from './resource-set.js';
import {
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  EXTENSION_TYPE,
  LISTENER_TYPE,
  resourceId,
  SCOPED_ROUTE_TYPE,
  type XdsResource,
} from './xds-resource.js';

jest.setTimeout(60_000);

const disposals: (() => unknown)[] = [];
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose();
});

async function service(name: string): Promise<number> {
  const { port, close } = await upstream(name);
  disposals.push(close);
  return port;
}

async function envoy(protocol: 'delta' | 'sotw' = 'delta'): Promise<LiveEnvoy> {
  const live = await LiveEnvoy.create(protocol);
  disposals.push(() => live.dispose());
  return live;
}

function controlPlane(resources: readonly XdsResource[], options: ConstructorParameters<typeof TestControlPlane>[1] = {}) {
  const plane = new TestControlPlane(ResourceSet.of(resources), options);
  disposals.push(() => plane.kill());
  return plane;
}

/** An Envoy that serves `/a` from the service a, `/b` and `/c` itself. */
async function serving(protocol: 'delta' | 'sotw' = 'delta', options: ConstructorParameters<typeof TestControlPlane>[1] = {}) {
  const live = await envoy(protocol);
  const a = await service('a');
  const plane = controlPlane(
    [
      listener('http', live.port),
      scopeFilter('g1'),
      edsCluster('a'),
      endpoints('a', a),
      scope('g1-a', { cluster: 'a' }),
      scope('g1-b', { body: 'b1' }),
      scope('g1-c', { body: 'c1' }),
    ],
    options,
  );
  await plane.start({ pipe: live.pipe });
  await live.start();
  await live.serves('/a', 'a');
  await plane.settled();
  return { live, plane, set: plane.set };
}

const put = (set: ResourceSet, ...upserts: XdsResource[]) => set.apply({ upserts, removed: [] });
const drop = (set: ResourceSet, ...keys: { typeUrl: string; name: string }[]) => set.apply({ upserts: [], removed: keys });
const nothing = (plane: TestControlPlane) => {
  expect(plane.rejected).toEqual([]);
  expect(plane.heldBack).toEqual([]);
};

describe.each(['delta', 'sotw'] as const)('Envoy over %s', (protocol) => {
  test('starts cold, and takes a change of a route', async () => {
    const { live, plane, set } = await serving(protocol);
    expect((await live.get('/b'))?.body).toBe('b1');
    put(set, scope('g1-b', { body: 'b2' }));
    plane.stream.update();
    await live.serves('/b', 'b2');
    await plane.settled();
    nothing(plane);
    expect(plane.stream.held(SCOPED_ROUTE_TYPE).get('g1-b')).toBe(set.get({ typeUrl: SCOPED_ROUTE_TYPE, name: 'g1-b' })?.version);
  });

  test('moves a route to a new cluster fifty times, the old one goes, and no request is lost', async () => {
    const { live, plane, set } = await serving(protocol, { timing: { removalGraceMs: 50 } });
    const b = await service('a');
    const clients = load(live, '/a', 4);
    for (let i = 1; i <= 50; i++) {
      const name = `a-${i}`;
      const before = i === 1 ? 'a' : `a-${i - 1}`;
      set.apply({
        upserts: [edsCluster(name), endpoints(name, b), scope('g1-a', { cluster: name })],
        removed: [
          { typeUrl: CLUSTER_TYPE, name: before },
          { typeUrl: ENDPOINT_TYPE, name: before },
        ],
      });
      plane.stream.update();
      await plane.settled();
    }
    await until('the old clusters are gone', () => plane.stream.held(CLUSTER_TYPE).size === 1);
    const { asked, lost } = await clients.stop();
    expect(lost).toEqual({});
    expect(asked).toBeGreaterThan(100);
    nothing(plane);
  });

  test('takes a changed cluster with its endpoints again, without a pause', async () => {
    const { live, plane, set } = await serving(protocol);
    const clients = load(live, '/a', 2);
    for (let seconds = 2; seconds <= 11; seconds++) {
      put(set, edsCluster('a', seconds));
      plane.stream.update();
      await plane.settled(2_000); // less than the deadline: it is the acknowledgement that settles it
    }
    expect((await clients.stop()).lost).toEqual({});
    nothing(plane);
  });

  test('refuses one scope of several: that one alone is left out, once', async () => {
    const { live, plane, set } = await serving(protocol);
    const bad = scope('g1-b', { regex: '(unclosed' });
    put(set, scope('g1-a', { body: 'a2' }), bad, scope('g1-c', { body: 'c2' }), scope('g1-d', { body: 'd1' }));
    plane.stream.update();
    await plane.settled();
    for (const [path, body] of Object.entries({ '/a': 'a2', '/b': 'b1', '/c': 'c2', '/d': 'd1' })) await live.serves(path, body);
    expect(plane.rejected.map(({ key, version }) => [key.name, version])).toEqual([['g1-b', bad.version]]);
    expect(plane.rejected[0]?.message).toContain('unclosed');
    put(set, scope('g1-b', { body: 'b3' }));
    plane.stream.update();
    await live.serves('/b', 'b3');
    const before = await live.admin.stats('scoped_rds.*update_rejected');
    put(set, bad);
    plane.stream.update();
    await plane.settled();
    expect(plane.rejected).toHaveLength(2); // told again, not sent again
    expect(await live.admin.stats('scoped_rds.*update_rejected')).toEqual(before);
    expect([...before.values()].reduce((sum, value) => sum + value, 0)).toBeGreaterThan(0);
  });

  test('refuses a cluster and a listener of several: what is good goes on', async () => {
    const { live, plane, set } = await serving(protocol);
    const b = await service('b');
    const other = listener('other', await freePort());
    put(set, badCluster('x'), edsCluster('b'), endpoints('b', b), scope('g1-b', { cluster: 'b' }), other, listener('twice', live.port));
    plane.stream.update();
    await live.serves('/b', 'b');
    await plane.settled();
    expect(plane.rejected.map(({ key }) => resourceId(key)).sort()).toEqual([`${CLUSTER_TYPE}/x`, `${LISTENER_TYPE}/twice`]);
    expect((await live.admin.listenerAddresses()).has('other')).toBe(true);
    put(set, scope('g1-c', { cluster: 'x' }));
    plane.stream.update();
    await plane.settled();
    expect(plane.heldBack.map(({ key, waitsFor }) => [key.name, waitsFor])).toEqual([['g1-c', ['x']]]);
    expect((await live.get('/c'))?.body).toBe('c1');
  });

  test('changes filter and scopes together: no request meets the one without the other', async () => {
    const { live, plane, set } = await serving(protocol);
    const clients = load(live, '/b', 3);
    for (let generation = 2; generation <= 11; generation++) {
      const keys = ['a', 'b', 'c'].map((key) => ({ typeUrl: SCOPED_ROUTE_TYPE, name: `g${generation - 1}-${key}` }));
      set.apply({
        upserts: [
          scopeFilter(`g${generation}`),
          scope(`g${generation}-a`, { cluster: 'a' }),
          scope(`g${generation}-b`, { body: `b${generation}` }),
          scope(`g${generation}-c`, { body: 'c' }),
        ],
        removed: keys,
      });
      plane.stream.update();
      await plane.settled();
    }
    expect((await clients.stop()).lost).toEqual({});
    await live.serves('/b', 'b11');
    expect([...plane.stream.held(SCOPED_ROUTE_TYPE).keys()].sort()).toEqual(['g11-a', 'g11-b', 'g11-c']);
    nothing(plane);
  });

  test('goes on when the control plane is killed and comes back with another set', async () => {
    const { live, plane, set } = await serving(protocol);
    const clients = load(live, '/a', 2);
    plane.kill();
    put(set, scope('g1-b', { body: 'b2' }));
    drop(set, { typeUrl: SCOPED_ROUTE_TYPE, name: 'g1-c' });
    await plane.start({ pipe: live.pipe });
    await live.serves('/b', 'b2', 15_000);
    await plane.settled();
    await until('what was removed meanwhile is gone', async () => (await live.get('/c'))?.status === 404);
    expect((await clients.stop()).lost).toEqual({});
    if (protocol === 'delta') expect(plane.acked.filter(({ typeUrl }) => typeUrl === CLUSTER_TYPE)).toHaveLength(1); // only at the start
  });
});

describe('Envoy over delta', () => {
  test('notes the good scopes of a refused response without serving them, and takes the same bytes again for nothing new', async () => {
    const { live, plane } = await serving();
    const said = new Map<string, string | undefined>();
    const { stream } = plane;
    const receive = stream.receive.bind(stream);
    stream.receive = (request) => {
      said.set(request.responseNonce, request.errorDetail?.message);
      receive(request);
    };
    const send = async (nonce: string, resources: XdsResource[], doubtful: string[] = []) => {
      const out = { typeUrl: SCOPED_ROUTE_TYPE, nonce, resources, removed: [], doubtful: new Set(doubtful) };
      stream.call.write(...encodeDelta(out, ''));
      await until('it is answered', () => said.has(nonce));
    };
    const good = [scope('g1-b', { body: 'b2' }), scope('g1-c', { body: 'c2' })];
    const bodies = async () => [(await live.get('/b'))?.body, (await live.get('/c'))?.body];
    await send('all', [...good, scope('g1-x', { regex: '(unclosed' })]);
    expect(said.get('all')).toContain('missing ): (unclosed'); // which scope it is, it does not say
    expect(await bodies()).toEqual(['b1', 'c1']);
    await send('same', good);
    expect(said.get('same')).toBeUndefined();
    const served = await bodies();
    expect(served).not.toEqual(['b2', 'c2']); // acknowledged, and not served: at least one of them
    await send('apart', good, ['g1-b', 'g1-c']);
    await live.serves('/b', 'b2');
    await live.serves('/c', 'c2');
  });

  test('comes back with all that it holds: nothing is sent, and changes go on', async () => {
    const { live, plane, set } = await serving();
    plane.acked.length = 0;
    plane.kill();
    await plane.start({ pipe: live.pipe });
    await until('it is back', () => plane.streams.length === 1, 15_000);
    await plane.settled();
    expect(plane.acked).toEqual([]);
    put(set, scope('g1-b', { body: 'b2' }));
    plane.stream.update();
    await live.serves('/b', 'b2');
    await plane.settled();
    expect(plane.acked).toEqual([{ typeUrl: SCOPED_ROUTE_TYPE, name: 'g1-b' }]);
  });

  test('a changed cluster whose endpoints are lost with the stream takes those of before when its time is over, and no request is lost', async () => {
    const { live, plane, set } = await serving();
    put(set, edsCluster('a', 1, 2));
    plane.stream.update();
    await plane.settled();
    const clients = load(live, '/a', 2);
    const changed = edsCluster('a', 2, 2);
    const out = { typeUrl: CLUSTER_TYPE, nonce: 'alone', resources: [changed], removed: [], doubtful: new Set<string>() };
    plane.stream.call.write(...encodeDelta(out, ''));
    await until('it warms', async () => (await warmingClusters(live)).has('a'));
    plane.kill();
    put(set, changed);
    plane.acked.length = 0;
    await plane.start({ pipe: live.pipe });
    await until('it is warm', async () => !(await warmingClusters(live)).has('a'));
    expect((await live.admin.stats('cluster.a.assignment_use_cached')).get('cluster.a.assignment_use_cached')).toBe(1);
    await live.serves('/a', 'a');
    await plane.settled();
    expect((await clients.stop()).lost).toEqual({});
    expect(plane.acked).toEqual([]);
  });

  test.each([true, false])('a cluster that never warms holds back its scope and nothing else (asked which: %s)', async (asks) => {
    let ask = async (): Promise<ReadonlySet<string>> => new Set();
    const { live, plane, set } = await serving('delta', {
      timing: { warmDeadlineMs: 300 },
      ...(asks ? { warming: () => ask() } : {}),
    });
    ask = () => warmingClusters(live);
    const b = await service('b');
    put(set, edsCluster('stuck'), scope('g1-b', { cluster: 'stuck' }));
    plane.stream.update();
    await until('it is held back', () => plane.heldBack.length > 0);
    expect(plane.heldBack.map(({ key }) => resourceId(key)).sort()).toEqual([`${CLUSTER_TYPE}/stuck`, `${SCOPED_ROUTE_TYPE}/g1-b`]);
    expect((await live.get('/b'))?.body).toBe('b1');
    // Later changes go on, those with a new cluster too, although Envoy acknowledges no cluster any more.
    put(set, scope('g1-c', { cluster: 'b' }), edsCluster('b'), endpoints('b', b));
    plane.stream.update();
    await live.serves('/c', 'b', 2_000);
    expect((await live.get('/b'))?.body).toBe('b1');
    put(set, endpoints('stuck', b));
    plane.stream.update();
    await live.serves('/b', 'b');
    await until('nothing is held back', () => plane.heldBack.length === 0);
  });

  test('a cluster that never warms does not keep away a scope that Envoy does not have at all', async () => {
    const { live, plane, set } = await serving('delta', { timing: { warmDeadlineMs: 300 } });
    put(set, edsCluster('stuck'), scope('g1-n', { prefix: '/n/stuck', cluster: 'stuck' }, { body: 'n' }));
    plane.stream.update();
    await live.serves('/n', 'n');
    expect((await live.get('/n/stuck'))?.status).toBe(503);
    expect(plane.heldBack.map(({ key }) => resourceId(key))).toEqual([`${CLUSTER_TYPE}/stuck`]);
  });

  test('a removed cluster outlives its last route by the grace, and stays when its name comes back', async () => {
    const { plane, set } = await serving('delta', { timing: { removalGraceMs: 400 } });
    const cluster = { typeUrl: CLUSTER_TYPE, name: 'a' };
    const kept = set.get(cluster);
    set.apply({ upserts: [scope('g1-a', { body: 'none' })], removed: [cluster] });
    plane.stream.update();
    await plane.settled();
    expect(plane.stream.held(CLUSTER_TYPE).has('a')).toBe(true);
    if (kept !== undefined) put(set, kept);
    plane.stream.update();
    await plane.settled();
    drop(set, cluster);
    plane.acked.length = 0;
    const since = performance.now();
    plane.stream.update();
    await until('it is gone', () => !plane.stream.held(CLUSTER_TYPE).has('a'));
    expect(performance.now() - since).toBeGreaterThanOrEqual(400);
    expect(plane.acked).toEqual([cluster]);
  });

  test('serves over TCP, and two Envoys of one node id each get their own', async () => {
    const first = await envoy();
    const plane = controlPlane([listener('http', first.port), scopeFilter('g1'), scope('g1-b', { body: 'b1' })]);
    const port = await freePort();
    await plane.start({ port });
    await first.start({ port });
    await first.serves('/b', 'b1');
    const second = new LiveEnvoy('delta', first.port); // both listen there, as during a hot restart
    disposals.push(() => second.dispose());
    await second.start({ port });
    await until(
      'both have settled',
      () => plane.streams.length === 2 && plane.streams.every(({ settledRevision }) => settledRevision === 1),
    );
    expect(plane.streams.map(({ node }) => node.id)).toEqual(['node-1', 'node-1']);
    put(plane.set, scope('g1-b', { body: 'b2' }));
    plane.endpoint?.update();
    await until('both have it', () => plane.streams.every(({ settledRevision }) => settledRevision === 2));
    nothing(plane);
  });

  test('a set of nothing is an answer: Envoy is ready at once', async () => {
    const live = await envoy();
    const plane = controlPlane([]);
    await plane.start({ pipe: live.pipe });
    await live.start();
    await until('Envoy is live', async () => (await live.admin.serverInfo().catch(() => undefined))?.state === 'LIVE', 5_000);
  });

  test('what is acknowledged is what Envoy has', async () => {
    const { live, plane } = await serving();
    expect([...plane.stream.held(EXTENSION_TYPE).keys()]).toEqual(['scope-filter']);
    expect([...plane.stream.held(LISTENER_TYPE).keys()]).toEqual(['http']);
    expect(JSON.stringify(await live.admin.configDump())).toContain(`"version_info":"${plane.stream.held(CLUSTER_TYPE).get('a')}"`);
  });
});

/** From Envoy's admin endpoint, as the agent does it. */
async function warmingClusters(live: LiveEnvoy): Promise<ReadonlySet<string>> {
  const dump = (await live.admin.json('/config_dump?resource=dynamic_warming_clusters')) as { configs?: { cluster?: { name?: string } }[] };
  return new Set((dump.configs ?? []).map(({ cluster }) => cluster?.name ?? ''));
}

import { describe, expect, jest, test } from '@jest/globals';

import { ApiConnection, ApiFault } from '#platform/kubernetes/api-connection.js';
import type { ApiObject } from '#platform/kubernetes/api-object.js';
import { ClusterServices } from '#platform/kubernetes/cluster-services.js';
import type { ReflectorTuning } from '#platform/kubernetes/reflector.js';
import { VersionGone, watchEvents } from '#platform/kubernetes/watch-events.js';

import { TcpProxy } from '../faults/tcp-proxy.js';
import { eventually } from '../support/eventually.js';
import { type ApiUnderTest, apisUnderTest } from './api-under-test.js';
import { contractStage } from './contract-stage.js';

jest.setTimeout(180_000);

/** One suite for the fake and the real server: what the product's tests rely on when they use the fake is true. */
describe.each(apisUnderTest('the contract of the API'))('%s', (_name, start) => {
  const stage = contractStage(start, 'ns');
  const web = { ports: [{ name: 'http', port: 80, protocol: 'TCP' }] };

  test('a list has a version, and a watch from it tells what came after, in order', async () => {
    await stage.inNamespace();
    await stage.objects.service(`${stage.namespace}/before`, web);
    const list = await stage.connection.json<{ metadata: { resourceVersion: string }; items: ApiObject[] }>({ path: stage.services });
    expect(list.items.map(({ metadata }) => metadata?.name)).toEqual(['before']);
    const events = await stage.watching({ resourceVersion: list.metadata.resourceVersion });
    await stage.objects.service(`${stage.namespace}/after`, web);
    await stage.objects.call('PATCH', `${stage.services}/after`, { metadata: { labels: { a: 'b' } } });
    await stage.objects.deleteService(`${stage.namespace}/after`);
    await eventually('three events', () => events.length === 3);
    expect(events.map(({ type, object }) => `${type} ${object.metadata?.name}`)).toEqual([
      'ADDED after',
      'MODIFIED after',
      'DELETED after',
    ]);
    const versions = events.map(({ object }) => Number(object.metadata?.resourceVersion));
    expect([...versions].sort((a, b) => a - b)).toEqual(versions);
  });

  test('pages of one list have one version and make the whole', async () => {
    await stage.inNamespace();
    for (const name of ['a', 'b', 'c', 'd', 'e']) await stage.objects.service(`${stage.namespace}/${name}`, web);
    const names: (string | undefined)[] = [];
    const versions = new Set<string>();
    let next: string | undefined;
    do {
      const page: { metadata: { resourceVersion: string; continue?: string }; items: ApiObject[] } = await stage.connection.json({
        path: stage.services,
        query: { limit: 2, continue: next },
      });
      names.push(...page.items.map(({ metadata }) => metadata?.name));
      versions.add(page.metadata.resourceVersion);
      next = page.metadata.continue || undefined;
    } while (next !== undefined);
    expect(names).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(versions.size).toBe(1);
  });

  test('for a watch by label, what no longer matches is deleted', async () => {
    await stage.inNamespace();
    const { metadata } = await stage.connection.json<{ metadata: { resourceVersion: string } }>({ path: stage.services });
    const events = await stage.watching({ resourceVersion: metadata.resourceVersion, labelSelector: 'team=a' });
    await stage.objects.service(`${stage.namespace}/other`, web, { labels: { team: 'b' } });
    await stage.objects.service(`${stage.namespace}/mine`, web, { labels: { team: 'a' } });
    await stage.objects.call('PATCH', `${stage.services}/mine`, { metadata: { labels: { team: 'b' } } });
    await stage.objects.call('PATCH', `${stage.services}/other`, { metadata: { labels: { team: 'a' } } });
    await eventually('three events', () => events.length === 3);
    expect(events.map(({ type, object }) => `${type} ${object.metadata?.name}`)).toEqual(['ADDED mine', 'DELETED mine', 'ADDED other']);
  });

  test('a version that is forgotten is gone', async () => {
    await stage.inNamespace();
    await stage.objects.service(`${stage.namespace}/a`, web);
    await stage.api.forget();
    const answer = stage.connection.open({ path: stage.services, query: { watch: true, resourceVersion: '1' } });
    const reading = answer.then(async (response) => {
      for await (const _events of watchEvents(response));
    });
    await expect(reading).rejects.toBeInstanceOf(VersionGone);
  });

  test('a watch ends by itself when its time is over; nobody may rely on being told where it was', async () => {
    await stage.inNamespace();
    const { metadata } = await stage.connection.json<{ metadata: { resourceVersion: string } }>({ path: stage.services });
    const startedMs = performance.now();
    const response = await stage.connection.open({
      path: stage.services,
      query: { watch: true, allowWatchBookmarks: true, resourceVersion: metadata.resourceVersion, timeoutSeconds: 2 },
    });
    const types: string[] = [];
    for await (const events of watchEvents(response)) for (const { type } of events) types.push(type);
    expect(performance.now() - startedMs).toBeGreaterThan(1_900);
    // The fake sends a bookmark here; the real server, with nothing happening in it, sends none within 70 s.
    expect(types.filter((type) => type !== 'BOOKMARK')).toEqual([]);
  });

  test('conflicts, doubles, strangers and bad tokens are told apart', async () => {
    await stage.inNamespace();
    await stage.objects.service(`${stage.namespace}/a`, web);
    const status = (promise: Promise<unknown>) =>
      promise.then(
        () => 0,
        (error: unknown) => (error instanceof ApiFault ? error.status : error),
      );
    expect(await status(stage.objects.service(`${stage.namespace}/a`, web))).toBe(409);
    const object = await stage.objects.call<{ metadata: object }>('GET', `${stage.services}/a`);
    await stage.objects.call('PATCH', `${stage.services}/a`, { metadata: { labels: { a: 'b' } } });
    expect(await status(stage.objects.call('PUT', `${stage.services}/a`, object))).toBe(409);
    expect(await status(stage.objects.call('GET', `${stage.services}/nobody`))).toBe(404);
    const stranger = new ApiConnection({
      ...stage.api.access,
      credentials: async () => ({ ...(await stage.api.access.credentials()), headers: { authorization: 'Bearer nobody' } }),
    });
    expect(await status(stranger.json({ path: stage.services }))).toBe(401);
    stranger.close();
  });

  test('Services and their slices become pictures that follow every change', async () => {
    await stage.inNamespace();
    const cluster = await following(stage.api.access);
    const key = `${stage.namespace}/web`;
    await stage.objects.service(key, {
      ports: [
        { name: 'http', port: 80 },
        { name: 'admin', port: 9000 },
      ],
    });
    await eventually('the Service is known', () => cluster.picture(key) !== undefined);
    expect(instances(cluster, key, 80)).toEqual([]);
    const ports = [
      { name: 'http', port: 8080, protocol: 'TCP' },
      { name: 'admin', port: 9001, protocol: 'TCP' },
    ];
    await stage.objects.slice(`${stage.namespace}/web-1`, 'web', { ports, endpoints: [{ addresses: ['10.1.0.1'] }] });
    await stage.objects.slice(`${stage.namespace}/web-2`, 'web', {
      ports,
      endpoints: [{ addresses: ['10.1.0.2'], conditions: { ready: true } }],
    });
    await eventually('both slices count', () => instances(cluster, key, 80).length === 2);
    expect(instances(cluster, key, 80)).toEqual(['10.1.0.1:8080', '10.1.0.2:8080']);
    expect(instances(cluster, key, 9000)).toEqual(['10.1.0.1:9001', '10.1.0.2:9001']);
    await stage.objects.changeSlice(`${stage.namespace}/web-1`, {
      endpoints: [{ addresses: ['10.1.0.1'], conditions: { ready: false, serving: true, terminating: true } }],
    });
    await eventually('one ends', () => instances(cluster, key, 80).length === 1);
    await stage.objects.deleteSlice(`${stage.namespace}/web-2`);
    await eventually('the one that ends is all there is', () => instances(cluster, key, 80)[0] === '10.1.0.1:8080');
    await stage.objects.deleteService(key);
    await eventually('a Service that is gone is gone, its slices notwithstanding', () => cluster.picture(key) === undefined);
  });

  test('without namespaces, those of the whole cluster are followed', async () => {
    await stage.inNamespace();
    const other = stage.namespace;
    await stage.inNamespace();
    const cluster = await following(stage.api.access, {}, []);
    for (const key of [`${other}/a`, `${stage.namespace}/a`]) {
      await stage.objects.service(key, web);
      await stage.objects.slice(`${key}-1`, 'a', { ports: [{ name: 'http', port: 8080 }], endpoints: [{ addresses: ['10.1.0.1'] }] });
      await eventually(`${key} is known`, () => instances(cluster, key, 80).length === 1);
    }
    await stage.objects.deleteService(`${other}/a`);
    await eventually('one is gone', () => cluster.picture(`${other}/a`) === undefined);
    expect(instances(cluster, `${stage.namespace}/a`, 80)).toEqual(['10.1.0.1:8080']);
  });

  test('what happens while the line is cut is known after it; nothing is taken away meanwhile', async () => {
    await stage.inNamespace();
    const proxy = await TcpProxy.start(() => stage.api.port);
    stage.cleanups.push(() => proxy.close());
    const cluster = await following(stage.api.accessThrough(proxy.port));
    const ports = [{ name: 'http', port: 8080 }];
    for (const name of ['stays', 'goes']) {
      await stage.objects.service(`${stage.namespace}/${name}`, web);
      await stage.objects.slice(`${stage.namespace}/${name}-1`, name, { ports, endpoints: [{ addresses: ['10.1.0.1'] }] });
    }
    await eventually('both are known', () =>
      ['stays', 'goes'].every((name) => instances(cluster, `${stage.namespace}/${name}`, 80).length === 1),
    );
    proxy.set('cut');
    await eventually('it is told', () => cluster.error !== '');
    expect(instances(cluster, `${stage.namespace}/stays`, 80)).toEqual(['10.1.0.1:8080']);
    await stage.objects.deleteService(`${stage.namespace}/goes`);
    await stage.objects.deleteSlice(`${stage.namespace}/goes-1`);
    await stage.objects.service(`${stage.namespace}/comes`, web);
    await stage.api.forget(); // so that the watch cannot go on where it was
    expect(instances(cluster, `${stage.namespace}/goes`, 80)).toEqual(['10.1.0.1:8080']);
    proxy.set('pass');
    await eventually('the new one is known', () => cluster.picture(`${stage.namespace}/comes`) !== undefined);
    await eventually('the deleted one is gone', () => cluster.picture(`${stage.namespace}/goes`) === undefined);
    expect(instances(cluster, `${stage.namespace}/stays`, 80)).toEqual(['10.1.0.1:8080']);
    await eventually('nothing is wrong any more', () => cluster.error === '');
  });

  test('a line that is dead without a word is given up, and what was missed on it is known', async () => {
    await stage.inNamespace();
    const proxy = await TcpProxy.start(() => stage.api.port);
    stage.cleanups.push(() => proxy.close());
    const cluster = await following(stage.api.accessThrough(proxy.port), { watchS: 1, watchGraceS: 1 });
    await stage.objects.service(`${stage.namespace}/a`, web);
    await eventually('it is known', () => cluster.picture(`${stage.namespace}/a`) !== undefined);
    proxy.forget();
    await stage.objects.service(`${stage.namespace}/b`, web);
    await eventually('what came meanwhile is known', () => cluster.picture(`${stage.namespace}/b`) !== undefined);
  });

  test('a server that is killed and comes back is followed again', async () => {
    await stage.inNamespace();
    const cluster = await following(stage.api.access);
    await stage.objects.service(`${stage.namespace}/a`, web);
    await eventually('it is known', () => cluster.picture(`${stage.namespace}/a`) !== undefined);
    await stage.api.kill();
    await eventually('it is told', () => cluster.error !== '');
    expect(cluster.picture(`${stage.namespace}/a`)).toBeDefined();
    await stage.api.restart();
    await stage.objects.service(`${stage.namespace}/b`, web);
    await eventually('what is new is known', () => cluster.picture(`${stage.namespace}/b`) !== undefined);
  });

  async function following(
    access: ApiUnderTest['access'],
    tuning: Partial<ReflectorTuning> = {},
    namespaces = [stage.namespace],
  ): Promise<ClusterServices> {
    const cluster = new ClusterServices({ access, namespaces, tuning, onChange: () => undefined, onError: () => undefined });
    cluster.start();
    stage.cleanups.push(() => cluster.stop());
    await cluster.synced();
    return cluster;
  }
});

function instances(cluster: ClusterServices, key: string, port: number): string[] {
  const found = cluster.picture(key)?.ports.find((one) => one.port === port);
  return (found?.instances ?? []).map(({ address, port: at }) => `${address}:${at}`);
}

import { describe, expect, jest, test } from '@jest/globals';

import { type ApiObject, keyOf, versionOf } from '#platform/kubernetes/api-object.js';
import { ClusterServices } from '#platform/kubernetes/cluster-services.js';
import { ObjectStore } from '#platform/kubernetes/object-store.js';
import { EXTERNAL_NAME_REFUSED } from '#platform/kubernetes/service-picture.js';

import { eventually } from '../support/eventually.js';
import { apisUnderTest } from './api-under-test.js';
import { contractStage } from './contract-stage.js';

jest.setTimeout(180_000);

/** What is made of events and of unusual Services, over the fake and the real server alike. */
describe.each(apisUnderTest('events and unusual Services'))('%s', (_name, start) => {
  const stage = contractStage(start, 'events');
  const web = { ports: [{ name: 'http', port: 80, protocol: 'TCP' }] };
  const label = (name: string, value: string) =>
    stage.objects.call('PATCH', `${stage.services}/${name}`, { metadata: { labels: { value } } });
  const list = () => stage.connection.json<{ metadata: { resourceVersion: string }; items: ApiObject[] }>({ path: stage.services });

  test('events that come doubled, late and in another order make what the server has', async () => {
    await stage.inNamespace();
    await stage.objects.service(`${stage.namespace}/before`, web);
    const { metadata, items } = await list();
    const events = await stage.watching({ resourceVersion: metadata.resourceVersion });
    for (const name of ['stays', 'goes', 'returns']) await stage.objects.service(`${stage.namespace}/${name}`, web);
    for (const value of ['1', '2']) for (const name of ['stays', 'goes', 'returns']) await label(name, value);
    for (const name of ['goes', 'returns', 'before']) await stage.objects.deleteService(`${stage.namespace}/${name}`);
    await stage.objects.service(`${stage.namespace}/returns`, web);
    await label('returns', '3');
    await eventually('all is heard', () => events.length === 14);
    const there = (all: Iterable<ApiObject>) => [...all].map((object) => `${keyOf(object)} ${versionOf(object)}`).sort();
    const expected = there((await list()).items);
    const [odd, even] = [events.filter((_, i) => i % 2 === 1), events.filter((_, i) => i % 2 === 0)];
    const orders = [events, [...events].reverse(), [...events, ...events], [...odd, ...even], [...even, ...[...odd].reverse(), ...events]];
    for (const order of orders) {
      const store = new ObjectStore<ApiObject>();
      store.replace(items);
      for (const event of order) store.apply([event]);
      expect(there(store.objects.values())).toEqual(expected);
      expect([...store.apply(order)]).toEqual([]);
    }
  });

  test('before a watch ends on which something happened, a bookmark has a version to go on from, and no object', async () => {
    await stage.inNamespace();
    const { metadata } = await list();
    const query = { allowWatchBookmarks: true, resourceVersion: metadata.resourceVersion, timeoutSeconds: 3 };
    const events = await stage.watching(query);
    await stage.objects.service(`${stage.namespace}/a`, web);
    await eventually('what happened, and the bookmark', () => events.length >= 2);
    expect(events.map(({ type }) => type).slice(0, 2)).toEqual(['ADDED', 'BOOKMARK']);
    const store = new ObjectStore<ApiObject>();
    store.apply(events);
    expect([...store.objects.keys()]).toEqual([`${stage.namespace}/a`]);
    await stage.objects.service(`${stage.namespace}/b`, web);
    const later = await stage.watching({ resourceVersion: versionOf(events[1]?.object ?? {}) });
    await eventually('what came after it', () => later.length === 1);
    expect(later.map(({ type, object }) => `${type} ${keyOf(object)}`)).toEqual([`ADDED ${stage.namespace}/b`]);
  });

  test('of a dual-stack Service the family that comes first in it, the other only when that has nobody', async () => {
    await stage.inNamespace();
    const cluster = await following();
    const key = `${stage.namespace}/web`;
    await stage.objects.service(key, { ...web, ipFamilyPolicy: 'RequireDualStack', ipFamilies: ['IPv6', 'IPv4'] });
    const ports = [{ name: 'http', port: 8080 }];
    await stage.objects.slice(`${key}-4`, 'web', { ports, endpoints: [{ addresses: ['10.1.0.1'] }] });
    await eventually('IPv4 is all there is', () => instances(cluster, key, 80).join() === '10.1.0.1 8080');
    await stage.objects.slice(`${key}-6`, 'web', { addressType: 'IPv6', ports, endpoints: [{ addresses: ['fd00:1::1'] }] });
    await eventually('IPv6 comes first', () => instances(cluster, key, 80).join() === 'fd00:1::1 8080');
    await stage.objects.changeSlice(`${key}-6`, { endpoints: [{ addresses: ['fd00:1::1'], conditions: { ready: false } }] });
    await eventually('and IPv4 again', () => instances(cluster, key, 80).join() === '10.1.0.1 8080');
  });

  test('an ExternalName is refused; a Service that becomes another sort is what it became', async () => {
    await stage.inNamespace();
    const cluster = await following();
    const key = `${stage.namespace}/elsewhere`;
    await stage.objects.service(key, { type: 'ExternalName', externalName: 'metadata.example.com' });
    await eventually('it is refused', () => cluster.picture(key)?.error === EXTERNAL_NAME_REFUSED);
    await stage.objects.call('PATCH', `${stage.services}/elsewhere`, { spec: { type: 'ClusterIP', externalName: null, ...web } });
    await stage.objects.slice(`${key}-1`, 'elsewhere', { ports: [{ name: 'http', port: 8080 }], endpoints: [{ addresses: ['10.1.0.1'] }] });
    await eventually('it has instances', () => instances(cluster, key, 80).join() === '10.1.0.1 8080');
    expect(cluster.picture(key)?.error).toBe('');
  });

  test('a headless Service without ports, a port whose number differs from slice to slice, a slice that goes over to another Service', async () => {
    await stage.inNamespace();
    const cluster = await following();
    const [headless, web1, web2] = ['headless', 'web1', 'web2'].map((name) => `${stage.namespace}/${name}`) as [string, string, string];
    await stage.objects.service(headless, { clusterIP: 'None' });
    await stage.objects.slice(`${headless}-1`, 'headless', { ports: [], endpoints: [{ addresses: ['10.1.0.9'] }] });
    await eventually('its addresses', () => cluster.picture(headless)?.addresses?.join() === '10.1.0.9');
    for (const key of [web1, web2]) await stage.objects.service(key, { ports: [{ name: 'http', port: 80, targetPort: 'web' }] });
    await stage.objects.slice(`${web1}-a`, 'web1', { ports: [{ name: 'http', port: 8080 }], endpoints: [{ addresses: ['10.1.0.1'] }] });
    await stage.objects.slice(`${web1}-b`, 'web1', { ports: [{ name: 'http', port: 8081 }], endpoints: [{ addresses: ['10.1.0.2'] }] });
    await eventually('both slices, each with its own port', () => instances(cluster, web1, 80).join() === '10.1.0.1 8080,10.1.0.2 8081');
    await stage.objects.changeSlice(`${web1}-b`, { metadata: { labels: { 'kubernetes.io/service-name': 'web2' } } });
    await eventually('it is the other Service’s', () => instances(cluster, web2, 80).join() === '10.1.0.2 8081');
    expect(instances(cluster, web1, 80)).toEqual(['10.1.0.1 8080']);
  });

  test('instances that end: none while others are ready, those that still serve when no other is there', async () => {
    await stage.inNamespace();
    const cluster = await following();
    const key = `${stage.namespace}/web`;
    await stage.objects.service(key, web);
    const ports = [{ name: 'http', port: 8080 }];
    const endpoint = (address: string, conditions: object) => ({ addresses: [address], conditions });
    const ending = { ready: false, terminating: true };
    const all = [
      endpoint('10.1.0.1', { ready: true, serving: true, terminating: false }),
      endpoint('10.1.0.2', { ...ending, serving: true }),
      endpoint('10.1.0.3', { ...ending, serving: false }),
      endpoint('10.1.0.4', { ready: false, serving: false, terminating: false }),
      { addresses: ['10.1.0.5'] },
    ];
    await stage.objects.slice(`${key}-1`, 'web', { ports, endpoints: all });
    await eventually('who is ready, said or not', () => instances(cluster, key, 80).join() === '10.1.0.1 8080,10.1.0.5 8080');
    await stage.objects.changeSlice(`${key}-1`, { endpoints: all.slice(1, 4) });
    await eventually('who still serves', () => instances(cluster, key, 80).join() === '10.1.0.2 8080');
  });

  async function following(): Promise<ClusterServices> {
    const options = { namespaces: [stage.namespace], tuning: {}, onChange: () => undefined, onError: () => undefined };
    const cluster = new ClusterServices({ access: stage.api.access, ...options });
    cluster.start();
    stage.cleanups.push(() => cluster.stop());
    await cluster.synced();
    return cluster;
  }
});

function instances(cluster: ClusterServices, key: string, port: number): string[] {
  const found = cluster.picture(key)?.ports.find((one) => one.port === port);
  return (found?.instances ?? []).map(({ address, port: at }) => `${address} ${at}`);
}

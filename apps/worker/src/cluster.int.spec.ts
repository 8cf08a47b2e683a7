import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { areServicesKnown, readKnownEndpoints } from '#features/discovery/known-services.table.js';
import { readTarget } from '#features/rollout/target.table.js';
import { readSubject } from '#platform/eventstore/read-log.js';
import { FakeApi } from '#platform/kubernetes/fake-api.fixture.js';

import { ENDPOINT_TYPE } from '#platform/xds/xds-resource.js';

import { eventually, WorkerFixture } from './worker.fixture.js';

jest.setTimeout(60_000);

const services = '/api/v1/services';
const slices = '/apis/discovery.k8s.io/v1/endpointslices';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function open(settings: object = {}) {
  const api = await FakeApi.start();
  cleanups.push(() => api.stop());
  const fixture = await WorkerFixture.open(settings);
  cleanups.push(() => fixture.close());
  const cluster = { access: api.access, ownNamespace: 'shop', namespaces: ['shop'], tuning: { leastBackoffMs: 10, mostBackoffMs: 50 } };
  return { api, fixture, cluster };
}

function publish(api: FakeApi, name: string, address: string, port = 8080): void {
  api.objects.create(services, 'shop', { metadata: { name } as never, spec: { ports: [{ port: 80 }] } });
  api.objects.create(slices, 'shop', {
    metadata: { name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } } as never,
    addressType: 'IPv4',
    ports: [{ port }],
    endpoints: [{ addresses: [address] }],
  });
}

describe('a worker with Kubernetes', () => {
  test('its instances reach the Envoy; its Services are known to the API under each of their names, before a mapping names them', async () => {
    const { api, fixture, cluster } = await open();
    publish(api, 'usersvc2', '10.7.0.1');
    const worker = await fixture.startWorker('w1', { cluster });
    const agent = fixture.agent();
    await agent.connect(worker.port);
    const { db } = fixture.database;
    const asked = ['usersvc2', 'usersvc2.shop', 'usersvc2.shop.svc.cluster.local', 'usersvc2.web'].map((host) => ({ host, port: 80 }));
    await eventually('it is known', async () => (await areServicesKnown(db, 'default', asked))[0] === true);
    expect(await areServicesKnown(db, 'default', asked)).toEqual([true, true, true, undefined]);
    expect(await areServicesKnown(db, 'default', [{ host: 'usersvc2', port: 81 }])).toEqual([false]);
    expect(await readKnownEndpoints(db, 'default', { host: 'usersvc2', port: 80 })).toEqual({
      source: 'kubernetes',
      endpoints: [{ address: '10.7.0.1', port: 8080 }],
      error: '',
    });
    const version = await fixture.putMapping('user', { service: 'usersvc2.shop' });
    await eventually('live', async () => (await readTarget(db, 'default', 'edge-1'))?.provenVersion === version);
    expect(has(agent, '10.7.0.1')).toBe(true);
    api.objects.delete(services, 'shop', 'usersvc2');
    await eventually(
      'a Service that is gone is known no more',
      async () => (await areServicesKnown(db, 'default', asked)).join() === ',false,,',
    );
    await eventually('nor its instances', () => !has(agent, '10.7.0.1'));
  });

  test('one that starts while the API server is away goes by what was known, and by the truth when it is back', async () => {
    const { api, fixture, cluster } = await open();
    publish(api, 'stays', '10.7.0.1');
    publish(api, 'goes', '10.7.0.2');
    const first = await fixture.startWorker('w1', { cluster });
    const { db } = fixture.database;
    const known = () =>
      areServicesKnown(
        db,
        'default',
        ['stays', 'goes'].map((host) => ({ host, port: 80 })),
      );
    await eventually('both are known', async () => (await known()).every((one) => one === true));
    await fixture.stopWorker(first);
    await api.stop();
    const second = await fixture.startWorker('w2', { cluster });
    const agent = fixture.agent();
    await agent.connect(second.port);
    await fixture.putMapping('stays', { service: 'stays' });
    const version = await fixture.putMapping('goes', { service: 'goes' });
    await eventually('live', async () => (await readTarget(db, 'default', 'edge-1'))?.provenVersion === version);
    expect([has(agent, '10.7.0.1'), has(agent, '10.7.0.2')]).toEqual([true, true]);
    api.objects.delete(services, 'shop', 'goes');
    await api.start();
    await eventually('what is gone is gone', () => !has(agent, '10.7.0.2'));
    expect(has(agent, '10.7.0.1')).toBe(true);
    await eventually('and is known to be', async () => (await known()).join() === 'true,false');
  });

  test('a cluster that is suddenly empty takes no services away from a gateway until somebody says that it is meant', async () => {
    const { api, fixture, cluster } = await open({ delivery: 'live' });
    const names = Array.from({ length: 12 }, (_, i) => `svc${i + 10}`);
    for (const [i, name] of names.entries()) publish(api, name, `10.7.0.${i + 1}`);
    const worker = await fixture.startWorker('w1', { cluster });
    const agent = fixture.agent();
    await agent.connect(worker.port);
    let version = 0;
    for (const name of names) version = await fixture.putMapping(name, { service: name });
    await eventually('live', async () => (await readTarget(fixture.database.db, 'default', 'edge-1'))?.provenVersion === version);
    const noted = () => fixture.query<{ version: number }>('select version from chancery.inventory');
    await eventually('what is served is noted', async () => (await noted())[0]?.version === version);
    for (const name of names) api.objects.delete(services, 'shop', name);
    const hold = async () => (await readSubject(fixture.database.db, 'rollout/default', 'hold')).state as { state: string } | null;
    await eventually('it is held', async () => (await hold())?.state === 'held');
    expect(names.filter((_, i) => agent.live.holds(ENDPOINT_TYPE, `10.7.0.${i + 1}`)).length).toBeGreaterThan(8);
  });
});

function has(agent: { readonly files: ReadonlyMap<string, { readonly json: Buffer }> }, text: string): boolean {
  return [...agent.files.values()].some(({ json }) => json.toString().includes(text));
}

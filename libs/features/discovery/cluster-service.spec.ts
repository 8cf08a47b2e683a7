import { describe, expect, test } from '@jest/globals';

import type { ServicePicture } from '#platform/kubernetes/service-picture.js';

import { clusterAnswer, clusterNames, clusterTarget } from './cluster-service.js';
import { resolve } from './discovery.js';

const at = (address: string, port: number) => ({ address, port });
const usersvc = { namespace: 'shop', name: 'usersvc', isCertain: false };
const known = (picture: Partial<ServicePicture>) => ({ picture: { ports: [], error: '', ...picture }, isListed: true });

describe('which Service a name means', () => {
  test.each([
    ['usersvc', { namespace: 'shop', name: 'usersvc', isCertain: false }],
    ['usersvc.web', { namespace: 'web', name: 'usersvc', isCertain: false }],
    ['usersvc.web.svc', { namespace: 'web', name: 'usersvc', isCertain: true }],
    ['usersvc.web.svc.cluster.local', { namespace: 'web', name: 'usersvc', isCertain: true }],
    ['a.b.example.com', undefined],
  ])('%s', (name, target) => {
    expect(clusterTarget(name, 'shop')).toEqual(target);
  });

  test('every name of a Service means it', () => {
    for (const service of [usersvc, { namespace: 'web', name: 'a' }])
      for (const name of clusterNames(service, 'shop'))
        expect(clusterTarget(name, 'shop')).toMatchObject({ namespace: service.namespace, name: service.name });
  });
});

describe('what Kubernetes says of a port', () => {
  test('its instances', () => {
    const ports = [{ port: 80, name: 'http', instances: [at('10.0.0.1', 8080)] }];
    expect(clusterAnswer(usersvc, 80, known({ ports }))).toEqual({ decides: true, endpoints: [at('10.0.0.1', 8080)], error: '' });
  });

  test('of a headless Service without ports, its instances at the port that is asked for', () => {
    expect(clusterAnswer(usersvc, 9000, known({ addresses: ['10.0.0.1'] })).endpoints).toEqual([at('10.0.0.1', 9000)]);
  });

  test.each([
    ['no instance', 80, known({ ports: [{ port: 80, name: '', instances: [] }] }), true, /no instance of it is ready/],
    ['another port', 81, known({ ports: [{ port: 80, name: 'http', instances: [] }] }), true, /no port 81; it has 80 \(http\)/],
    ['an ExternalName', 80, known({ error: 'it is elsewhere' }), true, /it is elsewhere\./],
    ['no Service', 80, { picture: undefined, isListed: true }, false, /no Service usersvc in the namespace shop/],
    ['no list yet', 80, { picture: undefined, isListed: false }, false, /not answered yet/],
    ['another namespace', 80, { picture: undefined, isListed: undefined }, false, /shop is not watched/],
  ])('or why there are none: %s', (_what, port, facts, decides, error) => {
    expect(clusterAnswer(usersvc, port, facts)).toEqual({ decides, endpoints: [], error: expect.stringMatching(error) });
  });

  test('nothing leads to the API server itself', () => {
    const ports = [{ port: 443, name: 'https', instances: [at('10.0.0.1', 6443)] }];
    const answer = clusterAnswer({ namespace: 'default', name: 'kubernetes', isCertain: false }, 443, known({ ports }));
    expect(answer).toMatchObject({ decides: true, endpoints: [] });
  });
});

describe('Kubernetes among the sources', () => {
  const named = { name: 'web', port: 80, ipVersion: 0 as const };
  const lists = { settings: {}, file: {}, dns: () => ({ addresses: ['10.9.9.9'], error: '' }) };

  test('it decides before DNS when it knows the Service, also when nobody is there', () => {
    const cluster = () => ({ decides: true, endpoints: [], error: 'nobody' });
    expect(resolve(named, { ...lists, cluster }, () => undefined)).toEqual({ source: 'kubernetes', endpoints: [], error: 'nobody' });
  });

  test('what it does not know may be known to DNS; if not, both say so', () => {
    const cluster = () => ({ decides: false, endpoints: [], error: 'Kubernetes: no.' });
    expect(resolve(named, { ...lists, cluster }, () => undefined)).toMatchObject({
      source: 'dns',
      endpoints: [at('10.9.9.9', 80)],
      error: '',
    });
    const unknown = { ...lists, cluster, dns: () => ({ addresses: [], error: 'DNS: no such name' }) };
    expect(resolve(named, unknown, () => undefined).error).toBe('Kubernetes: no. DNS: no such name');
  });

  test('an instance that may not be an upstream is left out', () => {
    const cluster = () => ({ decides: true, endpoints: [at('169.254.169.254', 80), at('10.0.0.1', 80)], error: '' });
    const refuse = ({ address }: { address: string }) => (address.startsWith('169.254.') ? 'link-local' : undefined);
    expect(resolve(named, { ...lists, cluster }, refuse)).toEqual({
      source: 'kubernetes',
      endpoints: [at('10.0.0.1', 80)],
      error: 'link-local',
    });
  });
});

import { describe, expect, test } from '@jest/globals';
import type { V1EndpointSlice, V1Service } from '@kubernetes/client-node';

import { EXTERNAL_NAME_REFUSED, pictureOf } from './service-picture.js';

const service = (spec: object = {}): V1Service => ({ spec: { ports: [{ name: 'http', port: 80 }], ...spec } }) as V1Service;
const slice = (endpoints: readonly (readonly [string, (object | undefined)?])[], more: object = {}): V1EndpointSlice =>
  ({
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    endpoints: endpoints.map(([address, conditions]) => ({ addresses: [address], ...(conditions === undefined ? {} : { conditions }) })),
    ...more,
  }) as V1EndpointSlice;
const found = (spec: object, ...slices: V1EndpointSlice[]) =>
  (pictureOf(service(spec), slices).ports[0]?.instances ?? []).map(({ address, port }) => `${address}:${port}`);

describe('the instances of a Service', () => {
  test('are those of all its slices, sorted, each once', () => {
    expect(found({}, slice([['10.0.0.2'], ['10.0.0.1']]), slice([['10.0.0.3'], ['10.0.0.1']]))).toEqual([
      '10.0.0.1:8080',
      '10.0.0.2:8080',
      '10.0.0.3:8080',
    ]);
  });

  test.each([
    ['ready', { ready: true }, true],
    ['ready is null', { ready: null }, true],
    ['no conditions', undefined, true],
    ['not ready', { ready: false }, false],
    ['not ready, but serving', { ready: false, serving: true }, false],
    ['ending', { ready: false, serving: true, terminating: true }, false],
    ['ending, ready unknown', { terminating: true }, false],
    ['ready while it ends, as publishNotReadyAddresses has it', { ready: true, terminating: true }, true],
  ])('%s', (_what, conditions, isThere) => {
    expect(found({}, slice([['10.0.0.1'], ['10.0.0.2', conditions as object | undefined]]))).toEqual(
      isThere ? ['10.0.0.1:8080', '10.0.0.2:8080'] : ['10.0.0.1:8080'],
    );
  });

  test('are those that end and still serve, when no other is there', () => {
    const ends = { ready: false, terminating: true };
    expect(
      found(
        {},
        slice([
          ['10.0.0.1', { ...ends, serving: true }],
          ['10.0.0.2', { ...ends, serving: false }],
          ['10.0.0.3', { ready: false }],
        ]),
      ),
    ).toEqual(['10.0.0.1:8080']);
  });

  test('one that moves between slices counts by the better word', () => {
    expect(
      found({}, slice([['10.0.0.1', { ready: false, serving: true, terminating: true }]]), slice([['10.0.0.1'], ['10.0.0.2']])),
    ).toEqual(['10.0.0.1:8080', '10.0.0.2:8080']);
  });

  test('are of the family that comes first in a dual-stack Service, and of the other when that has none', () => {
    const six = slice([['fd00::1']], { addressType: 'IPv6' });
    expect(found({ ipFamilies: ['IPv6', 'IPv4'] }, slice([['10.0.0.1']]), six)).toEqual(['fd00::1:8080']);
    expect(found({ ipFamilies: ['IPv4', 'IPv6'] }, slice([['10.0.0.1']]), six)).toEqual(['10.0.0.1:8080']);
    expect(found({ ipFamilies: ['IPv4', 'IPv6'] }, slice([['10.0.0.1', { ready: false }]]), six)).toEqual(['fd00::1:8080']);
    expect(found({}, slice([['web.example']], { addressType: 'FQDN' }))).toEqual([]);
  });
});

describe('the ports of a Service', () => {
  test('are found in the slices by their names, and may differ from slice to slice', () => {
    const ports = [
      { name: 'http', port: 80, targetPort: 'web' },
      { name: 'admin', port: 9000 },
      { name: 'dns', port: 53, protocol: 'UDP' },
    ];
    const named = (http: number) => ({
      ports: [
        { name: 'http', port: http },
        { name: 'admin', port: 9001 },
        { name: 'dns', port: 53, protocol: 'UDP' },
      ],
    });
    const picture = pictureOf(service({ ports }), [slice([['10.0.0.1']], named(8080)), slice([['10.0.0.2']], named(8081))]);
    expect(picture.ports).toEqual([
      {
        port: 80,
        name: 'http',
        instances: [
          { address: '10.0.0.1', port: 8080 },
          { address: '10.0.0.2', port: 8081 },
        ],
      },
      {
        port: 9000,
        name: 'admin',
        instances: [
          { address: '10.0.0.1', port: 9001 },
          { address: '10.0.0.2', port: 9001 },
        ],
      },
    ]);
  });

  test('one without a name is the slice port without one', () => {
    expect(found({ ports: [{ port: 80 }] }, slice([['10.0.0.1']], { ports: [{ name: '', port: 8080 }] }))).toEqual(['10.0.0.1:8080']);
    expect(found({ ports: [{ port: 80 }] }, slice([['10.0.0.1']], { ports: [{ name: null, port: 8080 }] }))).toEqual(['10.0.0.1:8080']);
  });

  test('a slice port without a number is the port of the Service', () => {
    expect(found({ clusterIP: 'None' }, slice([['10.0.0.1']], { ports: [{ name: 'http' }] }))).toEqual(['10.0.0.1:80']);
  });

  test('of a headless Service without ports, any', () => {
    expect(pictureOf(service({ clusterIP: 'None', ports: null }), [slice([['10.0.0.1']], { ports: null })])).toEqual({
      ports: [],
      addresses: ['10.0.0.1'],
      error: '',
    });
  });

  test('lists that are null are empty', () => {
    expect(found({}, slice([], { endpoints: null }), slice([['10.0.0.1']], { ports: null }))).toEqual([]);
  });
});

test('an ExternalName is refused', () => {
  expect(pictureOf(service({ type: 'ExternalName', externalName: 'metadata.google.internal' }), [])).toEqual({
    ports: [],
    error: EXTERNAL_NAME_REFUSED,
  });
});

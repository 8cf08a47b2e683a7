import { describe, expect, test } from '@jest/globals';

import { encodeDelta, encodeSotw } from './envoy-frames.js';
import { DeltaDiscoveryResponse, DiscoveryResponse } from './generated/discovery.js';
import { CLUSTER_TYPE, SCOPED_ROUTE_TYPE, type XdsResource } from './xds-resource.js';

const resource = (name: string, bytes: number): XdsResource => ({
  typeUrl: CLUSTER_TYPE,
  name,
  version: 'v'.repeat(64),
  value: Buffer.alloc(bytes, 7),
  needs: [],
});

const joined = (parts: readonly Uint8Array[]) => Buffer.concat(parts);

describe('responses around bytes that are encoded already', () => {
  test.each([0, 1, 127, 128, 100_000])('are what the generated code reads, with values of %d bytes', (bytes) => {
    const resources = [resource('a', bytes), resource('ü', bytes)];
    const out = { typeUrl: CLUSTER_TYPE, nonce: '7', resources, removed: ['b', 'c'], doubtful: new Set<string>() };
    expect(DeltaDiscoveryResponse.decode(joined(encodeDelta(out, 'v 12')))).toEqual({
      systemVersionInfo: 'v 12',
      typeUrl: CLUSTER_TYPE,
      nonce: '7',
      removedResources: ['b', 'c'],
      resources: resources.map(({ name, version, value }) => ({ name, version, resource: { typeUrl: CLUSTER_TYPE, value } })),
    });
    expect(DiscoveryResponse.decode(joined(encodeSotw(out, 'v 12')))).toEqual({
      versionInfo: 'v 12',
      typeUrl: CLUSTER_TYPE,
      nonce: '7',
      resources: resources.map(({ value }) => ({ typeUrl: CLUSTER_TYPE, value })),
    });
  });

  test('a scope of a refused response is sent in other bytes each time, under its version', () => {
    const scope = { ...resource('s', 100), typeUrl: SCOPED_ROUTE_TYPE };
    const values = ['1', '2'].map((nonce) => {
      const out = { typeUrl: SCOPED_ROUTE_TYPE, nonce, resources: [scope], removed: [], doubtful: new Set(['s']) };
      const { resources } = DeltaDiscoveryResponse.decode(joined(encodeDelta(out, '')));
      expect(resources[0]?.version).toBe(scope.version);
      expect(DiscoveryResponse.decode(joined(encodeSotw(out, ''))).resources[0]?.value).toEqual(resources[0]?.resource?.value);
      return resources[0]?.resource?.value ?? Buffer.alloc(0);
    });
    expect(values.map((value) => value.subarray(0, 100).equals(scope.value))).toEqual([true, true]);
    expect(values[0]).not.toEqual(values[1]);
  });

  test('who stands alike is sent the same but for the nonce; nobody what was written for others', () => {
    const [a, b] = [resource('a', 5_000), resource('b', 5_000)];
    const read = (nonce: string, resources: XdsResource[], removed: string[], version: string) => {
      const { systemVersionInfo, ...read } = DeltaDiscoveryResponse.decode(
        joined(encodeDelta({ typeUrl: CLUSTER_TYPE, nonce, resources, removed, doubtful: new Set() }, version)),
      );
      return [read.nonce, read.resources.map(({ name }) => name), read.removedResources, systemVersionInfo];
    };
    const cases: [string, XdsResource[], string[], string][] = [];
    for (const nonce of ['1', '12345']) {
      for (const resources of [[a], [b], [a, b], [b, a]]) {
        for (const removed of [[], ['x'], ['y']]) for (const version of ['1', '2']) cases.push([nonce, resources, removed, version]);
      }
    }
    for (const [nonce, resources, removed, version] of [...cases, ...cases.toReversed()]) {
      expect(read(nonce, resources, removed, version)).toEqual([nonce, resources.map(({ name }) => name), removed, version]);
    }
  });

  test('an empty response is one too', () => {
    const out = { typeUrl: CLUSTER_TYPE, nonce: '1', resources: [], removed: [], doubtful: new Set<string>() };
    expect(DeltaDiscoveryResponse.decode(joined(encodeDelta(out, '')))).toMatchObject({ resources: [], nonce: '1' });
    expect(DiscoveryResponse.decode(joined(encodeSotw(out, '')))).toMatchObject({ resources: [], nonce: '1' });
  });
});

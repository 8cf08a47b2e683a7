import { describe, expect, test } from '@jest/globals';

import { encodeDelta, encodeSotw } from './envoy-frames.js';
import { DeltaDiscoveryResponse, DiscoveryResponse } from './generated/discovery.js';
import { CLUSTER_TYPE, type XdsResource } from './xds-resource.js';

const resource = (name: string, bytes: number): XdsResource => ({
  typeUrl: CLUSTER_TYPE,
  name,
  version: 'v'.repeat(64),
  value: Buffer.alloc(bytes, 7),
  needs: [],
});

describe('responses around bytes that are encoded already', () => {
  test.each([0, 1, 127, 128, 100_000])('are what the generated code reads, with values of %d bytes', (bytes) => {
    const resources = [resource('a', bytes), resource('ü', bytes)];
    const out = { typeUrl: CLUSTER_TYPE, nonce: '7', resources, removed: ['b', 'c'] };
    expect(DeltaDiscoveryResponse.decode(encodeDelta(out, 'v 12'))).toEqual({
      systemVersionInfo: 'v 12',
      typeUrl: CLUSTER_TYPE,
      nonce: '7',
      removedResources: ['b', 'c'],
      resources: resources.map(({ name, version, value }) => ({ name, version, resource: { typeUrl: CLUSTER_TYPE, value } })),
    });
    expect(DiscoveryResponse.decode(encodeSotw(out, 'v 12'))).toEqual({
      versionInfo: 'v 12',
      typeUrl: CLUSTER_TYPE,
      nonce: '7',
      resources: resources.map(({ value }) => ({ typeUrl: CLUSTER_TYPE, value })),
    });
  });

  test('an empty response is one too', () => {
    const out = { typeUrl: CLUSTER_TYPE, nonce: '1', resources: [], removed: [] };
    expect(DeltaDiscoveryResponse.decode(encodeDelta(out, ''))).toMatchObject({ resources: [], nonce: '1' });
    expect(DiscoveryResponse.decode(encodeSotw(out, ''))).toMatchObject({ resources: [], nonce: '1' });
  });
});

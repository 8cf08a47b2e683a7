import { BinaryReader } from '@bufbuild/protobuf/wire';
import { describe, expect, test } from '@jest/globals';

import { sha256Hex } from '#platform/kernel/digest.js';

import { DeltaDiscoveryResponse } from './generated/discovery.js';
import { encodeLiveRelease, encodeLiveResponse, type LiveReleaseHead } from './live-release.js';
import { decodeResource, LIVE_TYPE } from './resource.js';
import { CLUSTER_TYPE, SCOPED_ROUTE_TYPE, type XdsResource } from './xds-resource.js';

const resource = (name: string, bytes: number): XdsResource => {
  const value = Buffer.alloc(bytes, name);
  return { typeUrl: SCOPED_ROUTE_TYPE, name, version: sha256Hex(value), value, needs: ['http-a-80', 'http-b-80'] };
};

const head: LiveReleaseHead = {
  releaseId: '1.2.3',
  fence: { lineage: 1, lineageId: 'x', term: 2, sequence: 3 },
  gateway: 'default',
  version: 70_000,
  coversFrom: 69_998,
  baseDigest: 'ab',
  digest: 'cd',
  bootstrap: Buffer.from('{}'),
  bootstrapSha256: 'ef',
  renderSha256: '01',
  probes: [{ path: '/p', body: 'b' }],
  marker: 'm',
  drainTimeS: 2,
  parentShutdownTimeS: 10,
  force: true,
  lowerVersionReason: 'pinned',
  proofAnswers: 30,
};

describe('a live release over the wire', () => {
  // Lengths of one, two, three and four bytes of varint, the value's own and the item's around it.
  test.each([0, 1, 100, 127, 128, 5_000, 16_383, 16_384, 2_100_000])('reads back as it was written, with a value of %i bytes', (bytes) => {
    const upserts = [resource('1.16.4', bytes), resource('2.16.0', 3)];
    const removed = [{ typeUrl: CLUSTER_TYPE, name: 'http-c-80' }];
    const response = DeltaDiscoveryResponse.decode(
      new BinaryReader(encodeLiveResponse(encodeLiveRelease(head, { upserts, removed }), '7')),
    );
    expect(response).toMatchObject({ typeUrl: LIVE_TYPE, nonce: '7', removedResources: [] });
    const [only] = response.resources.map((one) => decodeResource(LIVE_TYPE, one));
    if (only?.kind !== 'live') throw new Error('not a live release');
    const { changed, ...rest } = only.release;
    expect(rest).toEqual({ ...head, removed });
    expect(changed.map(({ sha256, value, ...item }) => ({ ...item, version: sha256.toString('hex'), hash: sha256Hex(value) }))).toEqual(
      upserts.map(({ value, ...item }) => ({ ...item, hash: sha256Hex(value) })),
    );
  });

  test('no bootstrap, nothing covered, no base: the message has their defaults', () => {
    const plain = { ...head, bootstrap: undefined, coversFrom: 0, baseDigest: '', force: false, lowerVersionReason: '', probes: [] };
    const response = DeltaDiscoveryResponse.decode(
      new BinaryReader(encodeLiveResponse(encodeLiveRelease(plain, { upserts: [], removed: [] }), '1')),
    );
    const [only] = response.resources.map((one) => decodeResource(LIVE_TYPE, one));
    expect(only).toMatchObject({ version: '1.2.3', release: { ...plain, bootstrap: Buffer.alloc(0), changed: [], removed: [] } });
  });
});

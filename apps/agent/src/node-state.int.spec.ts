import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { ReleaseStore } from '#platform/envoy/release-store.js';
import { Manifest } from '#platform/xds/generated/delivery.js';
import { NodeState } from './node-state.js';

let folder: string;
let store: ReleaseStore;
let faults: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'chancery-state-'));
  mkdirSync(join(folder, 'releases'));
  store = new ReleaseStore(join(folder, 'releases'), () => {});
  faults = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const fence = { lineage: 2, lineageId: 'id', term: 3, sequence: 4 };
const open = () => new NodeState(folder, store, (reason) => faults.push(reason));
const saveRelease = (sequence: number) =>
  store.save({
    manifest: Manifest.fromPartial({ fence: { ...fence, sequence }, version: 9, renderSha256: 'ab' }),
    bootstrap: Buffer.from('{}'),
    endpoints: new Map(),
  });

describe('what the agent remembers', () => {
  it('is there after a restart', () => {
    const name = { key: 'k', releaseId: '2.3.4', version: 9, renderSha256: 'ab' };
    const state = open();
    state.accept({ fence, version: 9, renderSha256: 'ab' });
    state.change({ applied: name });
    state.change({ proven: name });
    const again = open();
    expect(again.accepted).toEqual({ fence, version: 9, renderSha256: 'ab' });
    expect([again.applied, again.proven]).toEqual([name, name]);
  });

  it('knows the fence of a release that was stored before the agent died', () => {
    open().accept({ fence, version: 9, renderSha256: 'ab' });
    saveRelease(5);
    expect(open().accepted?.fence).toEqual({ ...fence, sequence: 5 });
  });

  it.each<[string, (bytes: Buffer) => Buffer]>([
    ['torn', (bytes) => bytes.subarray(0, bytes.length - 3)],
    ['empty', () => Buffer.alloc(0)],
    ['damaged', (bytes) => Buffer.from(bytes.map((byte, index) => (index === 80 ? byte ^ 1 : byte)))],
  ])('keeps the fence by the releases on disk when its file is %s', (_what, damage) => {
    saveRelease(4);
    open().accept({ fence, version: 9, renderSha256: 'ab' });
    const path = join(folder, 'state');
    writeFileSync(path, damage(readFileSync(path)));
    expect(open().accepted?.fence).toEqual(fence);
    expect(faults).toHaveLength(1);
  });
});

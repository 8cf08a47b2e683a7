import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { sha256Hex } from '#platform/kernel/digest.js';
import { LiveRelease } from '#platform/xds/generated/delivery.js';
import { ResourceSet } from '#platform/xds/resource-set.js';
import { resourceId, type XdsResource } from '#platform/xds/xds-resource.js';
import { itemOf, LiveStore } from './live-store.js';

const BOOTSTRAP = Buffer.from('{"node":{}}');

let folder: string;
let faults: string[];
let stores: LiveStore[];
beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'chancery-live-')), 'live');
  faults = [];
  stores = [];
});
afterEach(async () => {
  for (const store of stores) await store.close();
  rmSync(join(folder, '..'), { recursive: true, force: true });
});

function openStore(): LiveStore {
  const store = new LiveStore(folder, (reason) => faults.push(reason));
  stores.push(store);
  return store;
}

function resource(name: string, text: string): XdsResource {
  const value = Buffer.from(text);
  return { typeUrl: 'type', name, version: sha256Hex(value), value, needs: [`needed-by-${name}`] };
}

/** Releases one after the other, each a change of the set before it. */
class Row {
  set = new ResourceSet();
  sequence = 0;

  next(upserts: readonly XdsResource[], removed: readonly XdsResource[] = []): LiveRelease {
    const baseDigest = this.sequence === 0 ? '' : this.set.digest;
    this.set.apply({ upserts, removed });
    this.sequence += 1;
    return LiveRelease.fromPartial({
      releaseId: `1.1.${this.sequence}`,
      fence: { lineage: 1, lineageId: 'a', term: 1, sequence: this.sequence },
      version: this.sequence,
      baseDigest,
      digest: this.set.digest,
      changed: upserts.map(itemOf),
      removed: removed.map(({ typeUrl, name }) => ({ typeUrl, name })),
      bootstrap: baseDigest === '' ? BOOTSTRAP : Buffer.alloc(0),
      bootstrapSha256: sha256Hex(BOOTSTRAP),
    });
  }
}

const digestOf = (found: { resources: readonly XdsResource[] } | null) => (found === null ? null : ResourceSet.of(found.resources).digest);
const segments = () =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.segment'))
    .sort()
    .map((name) => join(folder, name));
const newestSegment = () => segments().at(-1) ?? '';

function flip(path: string, at: number): void {
  const fd = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  byte[0] = (readFileSync(path)[at] ?? 0) ^ 0x10;
  writeSync(fd, byte, 0, 1, at);
  closeSync(fd);
}

const checkpoint = (store: LiveStore, row: Row, release: LiveRelease, standing?: 'proven') =>
  store.checkpoint({ release, resources: [...row.set], bootstrap: BOOTSTRAP, standing, refused: [] });

describe('the live store', () => {
  it('says when the disk has what was written', async () => {
    const store = openStore();
    const row = new Row();
    for (let n = 0; n < 3; n++) store.append(row.next([resource('a', `${n}`)]));
    let onDisk = false;
    const first = store.synced().then(() => {
      onDisk = true;
    });
    await Promise.resolve();
    expect(onDisk).toBe(false);
    store.append(row.next([resource('a', 'later')]));
    await Promise.all([first, store.synced()]);
    await store.synced(); // nothing is left to wait for
  });

  it('gives back the newest set, with what its resources need and the bytes of its bootstrap', () => {
    const row = new Row();
    const store = openStore();
    expect(store.open()).toEqual({ newest: null, last: null });
    store.append(row.next([resource('a', '1'), resource('b', '1')]));
    store.append(row.next([resource('a', '2')]));
    store.append(row.next([resource('c', '1')], [resource('b', '1')]));
    const { newest, last } = openStore().open();
    expect(digestOf(newest)).toBe(row.set.digest);
    expect(newest?.resources.find(({ name }) => name === 'a')).toEqual(resource('a', '2'));
    expect(newest?.bootstrap).toEqual(BOOTSTRAP);
    expect(newest?.unproven.map(({ version }) => version)).toEqual([1, 2, 3]);
    expect(last?.fence?.sequence).toBe(3);
    expect(faults).toEqual([]);
  });

  it('knows what was proven, failed and refused', () => {
    const row = new Row();
    const store = openStore();
    store.open();
    store.append(row.next([resource('a', '1')]));
    store.mark('1.1.1', 'proven');
    store.append(row.next([resource('a', '2')]));
    store.append(row.next([resource('a', '3')]));
    store.mark('1.1.3', 'failed');
    store.refuse([{ typeUrl: 'type', name: 'a', version: resource('a', '3').version, instead: resource('a', '1') }]);
    const again = openStore();
    const { newest } = again.open();
    expect(newest).toMatchObject({ standing: 'failed', release: { version: 3 } });
    expect(newest?.unproven.map(({ version }) => version)).toEqual([2, 3]);
    expect(newest?.refused).toEqual([{ typeUrl: 'type', name: 'a', version: resource('a', '3').version, instead: resource('a', '1') }]);
    expect(again.newest((_release, standing) => standing === 'proven')?.release.version).toBe(1);
  });

  it('passes over a torn end for the release before, and goes on behind it', () => {
    const row = new Row();
    const store = openStore();
    store.open();
    store.append(row.next([resource('a', '1')]));
    const before = row.set.digest;
    const size = statSync(newestSegment()).size;
    store.append(row.next([resource('a', '2')]));
    for (let cut = statSync(newestSegment()).size - 1; cut > size; cut -= 7) {
      truncateSync(newestSegment(), cut);
      expect(digestOf(openStore().open().newest)).toBe(before);
    }
    // What was accepted again on the set before is found behind the torn end.
    const second = openStore();
    second.open();
    const other = new Row();
    other.next([resource('a', '1')]);
    second.append(other.next([resource('a', 'other')]));
    expect(digestOf(openStore().open().newest)).toBe(other.set.digest);
  });

  it('never gives anything but a set that was accepted, whichever bit is flipped', () => {
    const row = new Row();
    const store = openStore();
    store.open();
    const digests = new Set<string>();
    for (let n = 0; n < 6; n++) {
      store.append(row.next([resource('a', `a${n}`), resource(`b${n % 2}`, `b${n}`)]));
      digests.add(row.set.digest);
    }
    const whole = readFileSync(newestSegment());
    fc.assert(
      fc.property(fc.nat(whole.length - 1), (at) => {
        writeFileSync(newestSegment(), whole);
        flip(newestSegment(), at);
        const { newest } = openStore().open();
        if (newest !== null) expect(digests).toContain(digestOf(newest));
      }),
      { numRuns: 400 },
    );
    writeFileSync(newestSegment(), whole);
    flip(newestSegment(), whole.length - 20);
    expect(openStore().open().newest?.release.version).toBe(5);
    expect(faults.length).toBeGreaterThan(0);
  });

  it('finds a damaged object in the segment before', async () => {
    const row = new Row();
    const store = openStore();
    store.open();
    const first = row.next([resource('shared', 'the same in every set'), resource('a', '1')]);
    store.append(first);
    await checkpoint(store, row, first, 'proven');
    store.append(row.next([resource('a', '2')]));
    expect(segments()).toHaveLength(2);
    const bytes = readFileSync(newestSegment());
    flip(newestSegment(), bytes.indexOf('the same in every set') + 3);
    expect(digestOf(openStore().open().newest)).toBe(row.set.digest);
    expect(faults).toEqual([expect.stringContaining('is damaged')]);
  });

  it('has what came while a segment was begun in both', async () => {
    const row = new Row();
    const store = openStore();
    store.open();
    store.append(row.next([resource('a', '1')]));
    const second = row.next([resource('a', '2')]);
    store.append(second);
    const begun = checkpoint(store, row, second);
    // Back to a value that only the segment before holds.
    store.append(row.next([resource('a', '1')]));
    store.mark('1.1.3', 'proven');
    await begun;
    store.append(row.next([resource('b', '1')]));
    rmSync(segments()[0] ?? '');
    const { newest } = openStore().open();
    expect(digestOf(newest)).toBe(row.set.digest);
    expect(newest?.unproven.map(({ version }) => version)).toEqual([4]);
    expect(faults).toEqual([]);
  });

  it('can go back to ten proven sets and more, and does not grow for ever', async () => {
    const row = new Row();
    const store = openStore();
    store.open();
    const digests: string[] = [];
    for (let n = 0; n < 60; n++) {
      const release = row.next([resource('a', `a${n}`)]);
      store.append(release);
      digests.push(row.set.digest);
      store.mark(release.releaseId, 'proven');
      if (n % 5 === 4) await checkpoint(store, row, release, 'proven');
    }
    expect(segments().length).toBeLessThanOrEqual(8);
    const again = openStore();
    again.open();
    for (let back = 0; back < 10; back++) {
      const version = 60 - back;
      const found = again.newest((release) => release.version === version);
      expect({ version, digest: digestOf(found) }).toEqual({ version, digest: digests[version - 1] });
    }
  });

  it('keeps what it has when a new segment cannot be written, and leaves nothing of it', async () => {
    const row = new Row();
    const store = openStore();
    store.open();
    const first = row.next([resource('a', '1')]);
    store.append(first);
    const away = `${folder}.away`;
    // The folder is gone: nothing can be made in it, as on a disk that is full.
    renameSync(folder, away);
    await checkpoint(store, row, first);
    renameSync(away, folder);
    store.append(row.next([resource('a', '2')]));
    expect(faults).toEqual([expect.stringContaining('could not be written')]);
    expect(segments()).toHaveLength(1);
    expect(resourceId(openStore().open().newest?.resources[0] ?? resource('', ''))).toBe('type/a');
    expect(digestOf(openStore().open().newest)).toBe(row.set.digest);
  });
});

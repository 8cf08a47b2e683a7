import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Manifest } from '#platform/xds/generated/delivery.js';
import { type Release, ReleaseStore, releaseKey } from './release-store.js';

let folder: string;
let faults: string[];
let store: ReleaseStore;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'chancery-releases-'));
  faults = [];
  store = new ReleaseStore(folder, (key) => faults.push(key));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const release = (sequence: number, renderSha256 = String(sequence).padEnd(64, '0')): Release => ({
  manifest: Manifest.fromPartial({
    renderSha256,
    releaseId: `1.1.${sequence}`,
    fence: { lineage: 1, lineageId: 'a', term: 1, sequence },
    version: sequence,
  }),
  bootstrap: Buffer.from(`{"n":${sequence}}`),
  endpoints: new Map([['users', Buffer.from('{"é":1}')]]),
});
const fileOf = (key: string) => join(folder, readdirSync(folder).find((name) => name.startsWith(key)) ?? 'missing');

describe('the releases on disk', () => {
  it('come back as they were written, private to their owner', () => {
    const key = store.save(release(1));
    expect(store.read(key)).toEqual(release(1));
    expect(statSync(fileOf(key)).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual([`${key}.100000000000.candidate`]);
  });

  it('sort by lineage, then term, then sequence', () => {
    const keys = [
      [1, 9, 9],
      [1, 10, 1],
      [1, 10, 2],
      [2, 1, 1],
    ].map(([lineage = 0, term = 0, sequence = 0]) => releaseKey({ lineage, term, sequence }));
    expect([...keys].sort()).toEqual(keys);
  });

  it.each<[string, (path: string) => void]>([
    ['torn', (path) => truncateSync(path, statSync(path).size - 1)],
    ['empty', (path) => truncateSync(path, 0)],
    [
      'damaged by one flipped bit',
      (path) => {
        const bytes = readFileSync(path);
        const at = bytes.length - 10;
        bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
        writeFileSync(path, bytes);
      },
    ],
  ])('are passed over for the one before when %s', (_what, damage) => {
    const older = store.save(release(1));
    const newer = store.save(release(2));
    store.mark(older, 'good');
    store.mark(newer, 'good');
    expect(store.newest('good')?.key).toBe(newer);
    damage(fileOf(newer));
    expect(store.newest('good')?.key).toBe(older);
    expect(store.good({ atMost: 9 }).map(({ key }) => key)).toEqual([older]);
    expect(faults).toContain(newer);
  });

  it('keep twelve good ones, and the newest candidate', () => {
    for (let sequence = 1; sequence <= 20; sequence++) store.mark(store.save(release(sequence)), 'good');
    const candidate = store.save(release(21));
    expect(store.good({ atMost: 99 })).toHaveLength(12);
    expect(store.newest('candidate')?.key).toBe(candidate);
    expect(store.list()[1]).toMatchObject({ key: releaseKey({ lineage: 1, term: 1, sequence: 20 }), standing: 'good' });
  });

  it('keep of one render the newest endpoints and what runs, so that changes of endpoints push no other render out', () => {
    const other = store.save(release(1, 'a'.repeat(64)));
    store.mark(other, 'good');
    const running = store.save(release(2, 'b'.repeat(64)));
    store.mark(running, 'good');
    let newest = '';
    for (let sequence = 3; sequence <= 30; sequence++) {
      newest = store.save(release(sequence, 'b'.repeat(64)));
      store.mark(newest, 'good', { running });
    }
    const [first, second, ...rest] = store.list().map(({ key }) => key);
    expect([first, rest]).toEqual([newest, [running, other]]);
    expect(second).toBe(releaseKey({ lineage: 1, term: 1, sequence: 29 }));
    expect(store.good({ first: other, atMost: 2 }).map(({ key }) => key)).toEqual([other, newest]);
  });

  it('never start a refused one', () => {
    const key = store.save(release(1));
    store.mark(key, 'refused');
    expect(store.newest('candidate', 'good')).toBeNull();
  });
});

import { describe, expect, it } from '@jest/globals';
import { LiveRelease } from '#platform/xds/generated/delivery.js';
import { LiveProof, planProbes } from './live-proof.js';
import { askable, UnprovenReleases } from './unproven.js';

const shard = (name: string) => `/.well-known/chancery/shard/${name}`;

function release(
  version: number,
  probes: Record<string, string>,
  { changed = Object.keys(probes), removed = [] as string[] } = {},
): LiveRelease {
  return LiveRelease.fromPartial({
    releaseId: `1.1.${version}`,
    version,
    coversFrom: version,
    changed: changed.map((name) => ({ typeUrl: 'scope', name })),
    removed: removed.map((name) => ({ typeUrl: 'scope', name })),
    probes: Object.entries(probes).map(([name, body]) => ({ path: shard(name), body })),
  });
}

function rotation(version: number, probes: Record<string, string>): LiveRelease {
  const { path, body } = { path: '/certificate-edge', body: '' };
  const asked = Object.entries(probes).map(([name, fingerprint]) => ({
    path: `tls://127.0.0.1:8443/${name}/certificate-edge`,
    body: fingerprint,
  }));
  const whole = { changed: [{ typeUrl: 'secret', name: 'certificate-edge' }], probes: [{ path, body }, ...asked] };
  return LiveRelease.fromPartial({ releaseId: `1.1.${version}`, version, coversFrom: version, ...whole });
}

const MARKER = { path: '/.well-known/chancery/marker', body: 'marker' };

describe('releases that are not proven', () => {
  it('are covered by the newest, from the first version on', () => {
    const unproven = new UnprovenReleases();
    unproven.add(release(3, { a: 'a3', b: 'b3' }), 1);
    unproven.add(release(4, { a: 'a4' }), 2);
    unproven.add(release(5, { c: 'c5' }), 3);
    const merged = unproven.merge();
    expect(merged).toMatchObject({ coversFrom: 3, revision: 3, release: { version: 5, changed: [] } });
    expect(askable(merged?.probes ?? new Map())).toEqual(
      new Map([
        [shard('a'), 'a4'],
        [shard('b'), 'b3'],
        [shard('c'), 'c5'],
      ]),
    );
  });

  it('are asked for the certificate of each name that the newest one has, and for no name that it has lost', () => {
    const unproven = new UnprovenReleases();
    unproven.add(rotation(1, { 'a.example': 'f1', 'b.example': 'f1' }), 1);
    unproven.add(release(2, { a: 'a2' }), 2);
    unproven.add(rotation(3, { 'a.example': 'f3' }), 3);
    const probes = askable(unproven.merge()?.probes ?? new Map());
    expect(probes).toEqual(
      new Map([
        [shard('a'), 'a2'],
        ['tls://127.0.0.1:8443/a.example/certificate-edge', 'f3'],
      ]),
    );
  });

  it('are not asked for what a later one removes, or changes without a probe', () => {
    const unproven = new UnprovenReleases();
    unproven.add(release(1, { a: 'a1', b: 'b1', c: 'c1' }), 1);
    unproven.add(release(2, {}, { changed: ['a'], removed: ['b'] }), 2);
    expect(askable(unproven.merge()?.probes ?? new Map())).toEqual(new Map([[shard('c'), 'c1']]));
    unproven.add(release(3, { a: 'a3' }), 3);
    expect(askable(unproven.merge()?.probes ?? new Map())).toEqual(
      new Map([
        [shard('c'), 'c1'],
        [shard('a'), 'a3'],
      ]),
    );
  });

  it('stay when they come while others are proven', () => {
    const unproven = new UnprovenReleases();
    unproven.add(release(1, { a: 'a1' }), 1);
    const proving = unproven.merge();
    unproven.add(release(2, { a: 'a2' }), 2);
    if (proving !== null) unproven.settle(proving);
    expect(unproven.all.map(({ release: { version } }) => version)).toEqual([2]);
    expect(unproven.merge()?.coversFrom).toBe(2);
  });
});

describe('the plan of a proof', () => {
  const total = (probes: number, answers = 30) =>
    planProbes(new Map(Array.from({ length: probes }, (_, n) => [shard(String(n)), 'x'])), MARKER, answers).reduce(
      (sum, probe) => sum + probe.answers,
      0,
    );

  it('asks for the marker alone when nothing else changed', () => {
    expect(planProbes(new Map(), MARKER, 30)).toEqual([{ path: MARKER.path, bodies: new Set(['marker']), answers: 30 }]);
  });

  it('asks few paths thoroughly, many less, and never much more than three hundred times', () => {
    expect(total(1)).toBe(33);
    expect(total(10)).toBe(303);
    for (const probes of [2, 11, 50, 100, 101, 4096]) {
      expect(total(probes)).toBeGreaterThanOrEqual(Math.min(probes, 100) * 3);
      expect(total(probes)).toBeLessThanOrEqual(303);
    }
    expect(total(1, 5)).toBe(8);
  });

  it('takes a sample that is spread over all of them', () => {
    const probes = new Map(Array.from({ length: 1000 }, (_, n) => [shard(String(n)), 'x'] as const));
    const asked = planProbes(probes, MARKER, 30)
      .slice(0, -1)
      .map(({ path }) => Number(path.slice(path.lastIndexOf('/') + 1)));
    expect(asked).toHaveLength(100);
    expect(asked.every((n, at) => n >= at * 10 && n < at * 10 + 10)).toBe(true);
  });

  it('lets a later body prove an earlier release, and gives up what is gone', () => {
    const unproven = new UnprovenReleases();
    unproven.add(release(1, { a: 'a1', b: 'b1' }), 1);
    const plan = planProbes(askable(unproven.merge()?.probes ?? new Map()), MARKER, 30);
    const proof = new LiveProof(plan);
    unproven.add(release(2, { a: 'a2' }, { changed: ['a'], removed: ['b'] }), 2);
    const newest = unproven.newest;
    if (newest !== null) proof.follow(newest, MARKER.path);
    expect(plan.find(({ path }) => path === shard('a'))?.bodies).toEqual(new Set(['a1', 'a2']));
    expect(plan.find(({ path }) => path === shard('b'))?.bodies).toEqual(new Set(['b1']));
  });
});

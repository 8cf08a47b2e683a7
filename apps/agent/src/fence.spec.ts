import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Manifest } from '#platform/xds/generated/delivery.js';
import { compareFences, decideFence } from './fence.js';

const manifest = (
  lineage: number,
  term: number,
  sequence: number,
  version = 5,
  extra: { lineageId?: string; lowerVersionReason?: string } = {},
) =>
  Manifest.fromPartial({
    fence: { lineage, term, sequence, lineageId: extra.lineageId ?? `id-${lineage}` },
    version,
    lowerVersionReason: extra.lowerVersionReason ?? '',
  });
const last = { fence: { lineage: 2, lineageId: 'id-2', term: 3, sequence: 4 }, version: 5 };

describe('the fence', () => {
  it.each([
    ['the next sequence', manifest(2, 3, 5)],
    ['a later term, whatever its sequence', manifest(2, 4, 1)],
    ['a later lineage, whatever its version', manifest(3, 1, 1, 1)],
    ['a lower version with a recorded reason', manifest(2, 3, 5, 4, { lowerVersionReason: 'pin' })],
  ])('accepts %s', (_what, next) => {
    expect(decideFence(last, next)).toEqual({ accept: true });
  });

  it.each([
    ['the same again', manifest(2, 3, 4), 'not_newer'],
    ['an earlier sequence', manifest(2, 3, 3), 'not_newer'],
    ['an earlier term', manifest(2, 2, 99), 'not_newer'],
    ['an earlier lineage', manifest(1, 99, 99, 99), 'not_newer'],
    ['another history of the same lineage', manifest(2, 9, 9, 9, { lineageId: 'other' }), 'lineage_conflict'],
    ['a lower version', manifest(2, 3, 5, 4), 'version_lower'],
    ['no fence', Manifest.fromPartial({ version: 9 }), 'fence_missing'],
  ])('refuses %s', (_what, next, code) => {
    expect(decideFence(last, next)).toMatchObject({ accept: false, code });
  });

  it('lets a new node begin with anything', () => {
    expect(decideFence(null, manifest(7, 1, 1))).toEqual({ accept: true });
  });

  it('never goes back, in whatever order releases arrive', () => {
    const number = fc.integer({ min: 1, max: 4 });
    fc.assert(
      fc.property(fc.array(fc.tuple(number, number, number)), (arrivals) => {
        let accepted: Parameters<typeof decideFence>[0] = null;
        for (const [lineage, term, sequence] of arrivals) {
          const next = manifest(lineage, term, sequence);
          if (!decideFence(accepted, next).accept) continue;
          if (next.fence === undefined) throw new Error('no fence');
          if (accepted !== null && compareFences(next.fence, accepted.fence) <= 0) throw new Error('went back');
          accepted = { fence: next.fence, version: next.version };
        }
      }),
    );
  });
});

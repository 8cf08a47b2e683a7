import { describe, expect, test } from '@jest/globals';

import { type AnchoredHead, AnchorJudgement } from './verification.js';

/** What the database holds of a stream: hashes by version from 1; null = nothing. */
function judge(anchored: readonly (readonly [number, string])[], recorded: readonly string[] | null): AnchorJudgement {
  const judgement = new AnchorJudgement();
  for (const [index, [version, hash]] of anchored.entries()) {
    const anchor: AnchoredHead = { stream: 'gateway/a', version, hash, line: index + 1, time: `t${index + 1}` };
    judgement.add(anchor, { recorded: recorded?.[version - 1] ?? null, last: recorded === null ? null : recorded.length });
  }
  return judgement;
}

describe('what anchors say of the database', () => {
  test.each<[string, [number, string][], string[] | null, object[], number | undefined]>([
    [
      'all as anchored',
      [
        [1, 'a'],
        [3, 'c'],
      ],
      ['a', 'b', 'c', 'd'],
      [],
      3,
    ],
    ['no anchors', [], ['a'], [], undefined],
    [
      'changed after the first anchor',
      [
        [1, 'a'],
        [3, 'c'],
      ],
      ['a', 'x', 'y'],
      [{ kind: 'anchor_mismatch', from: 2, to: 3, version: 3, line: 2 }],
      1,
    ],
    [
      'changed before the first anchor',
      [
        [2, 'b'],
        [3, 'c'],
      ],
      ['x', 'y', 'z'],
      [{ kind: 'anchor_mismatch', from: 1, to: 2, line: 1 }],
      undefined,
    ],
    [
      'exactly one version is in doubt',
      [
        [1, 'a'],
        [2, 'b'],
      ],
      ['a', 'x'],
      [{ kind: 'anchor_mismatch', from: 2, to: 2 }],
      1,
    ],
    [
      'cut off',
      [
        [1, 'a'],
        [3, 'c'],
        [5, 'e'],
      ],
      ['a', 'b'],
      [{ kind: 'truncated', from: 3, to: 5, version: 3, line: 2 }],
      1,
    ],
    [
      'cut off and continued',
      [
        [1, 'a'],
        [2, 'b'],
        [5, 'e'],
      ],
      ['a', 'x', 'y'],
      [
        { kind: 'anchor_mismatch', from: 2, to: 2 },
        { kind: 'truncated', from: 4, to: 5 },
      ],
      1,
    ],
    [
      'gone',
      [
        [1, 'a'],
        [4, 'd'],
      ],
      null,
      [{ kind: 'deleted', table: 'stream', from: 1, to: 4, line: 1 }],
      undefined,
    ],
    [
      'the head went back and was anchored there: the older anchor stands',
      [
        [3, 'c'],
        [1, 'a'],
      ],
      ['a'],
      [{ kind: 'truncated', from: 2, to: 3 }],
      1,
    ],
  ])('%s', (_, anchored, recorded, faults, matched) => {
    const judgement = judge(anchored, recorded);
    expect(judgement.faults()).toMatchObject(faults.map((fault) => ({ stream: 'gateway/a', ...fault })));
    expect(judgement.faults()).toHaveLength(faults.length);
    expect(judgement.matchedOf('gateway/a')?.version).toBe(matched);
  });
});

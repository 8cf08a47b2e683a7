import { describe, expect, test } from '@jest/globals';
import type { JsonObject } from '#platform/kernel/json.js';
import { runToEnd } from '#platform/kernel/turns.js';

import { documentDigest, documentText, toDocument, writingDocument } from './configuration-document.js';
import { differencesOf } from './difference.js';
import { SubjectKinds } from './subject-kind.js';
import { lampKind, oldLamp as old, youngLamp as young } from './upcast.fixture.js';

const kinds = new SubjectKinds([lampKind]);
const recorded = (state: JsonObject | null, schemaVersion: number) => ({ state, schemaVersion });

describe('a state of an older schema version', () => {
  test("is read in today's shape; today's, an ended one and one of no kind stay as they are", () => {
    expect(kinds.upcast('lamp/a', old, 1)).toEqual(young);
    expect(kinds.upcast('lamp/a', young, 2)).toBe(young);
    expect(kinds.upcast('lamp/a', null, 1)).toBeNull();
    expect(kinds.upcast('candle/a', old, 1)).toBe(old);
    expect(kinds.upcast('lamp', old, 1)).toBe(old);
  });

  test('gives the same document, byte for byte, as the same state of the newer', () => {
    const before = toDocument(kinds, [
      { subject: 'lamp/b', state: old, schemaVersion: 1 },
      { subject: 'lamp/a', ...recorded(young, 2) },
    ]);
    const after = toDocument(kinds, [
      { subject: 'lamp/a', ...recorded(old, 1) },
      { subject: 'lamp/b', state: young, schemaVersion: 2 },
    ]);
    expect(before).toEqual({
      lamps: [
        { name: 'a', ...young },
        { name: 'b', ...young },
      ],
    });
    expect(documentText(before, 'json')).toBe(documentText(after, 'json'));
    expect(documentText(before, 'yaml')).toBe(documentText(after, 'yaml'));
    expect(documentDigest(before)).toBe(documentDigest(after));
    for (const format of ['json', 'yaml'] as const)
      expect(runToEnd(writingDocument(before, format))).toEqual({ text: documentText(before, format), digest: documentDigest(before) });
  });

  test('differs from the newer only where its meaning does', () => {
    const touched = (before: ReturnType<typeof recorded>, after: ReturnType<typeof recorded>) =>
      runToEnd(differencesOf(kinds, [{ subject: 'lamp/a', before, after }]));
    expect(touched(recorded(old, 1), recorded(young, 2))).toEqual([]);
    expect(touched(recorded(young, 2), recorded(old, 1))).toEqual([]);
    expect(touched(recorded(old, 1), recorded({ ...young, colour: 'red' }, 2))).toEqual([
      {
        subject: 'lamp/a',
        op: 'changed',
        before: young,
        after: { ...young, colour: 'red' },
        diff: [{ op: 'replace', pointer: '/colour', before: 'white', after: 'red' }],
      },
    ]);
    expect(touched(recorded(null, 0), recorded(old, 1))).toMatchObject([{ op: 'added', before: null, after: young }]);
    expect(touched(recorded(old, 1), recorded(null, 2))).toMatchObject([{ op: 'removed', before: young, after: null }]);
    expect(touched(recorded(null, 0), recorded(null, 1))).toEqual([]);
  });

  test('what is not configuration is no difference of it', () => {
    expect(runToEnd(differencesOf(kinds, [{ subject: 'candle/a', before: recorded(null, 0), after: recorded(old, 1) }]))).toEqual([]);
  });
});

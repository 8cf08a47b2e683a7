import type { TouchedSubject } from '#platform/eventstore/read-history.js';
import { type Difference, jsonDiff } from '#platform/http/json-diff.js';
import type { JsonObject } from '#platform/kernel/json.js';

import type { SubjectKinds } from './subject-kind.js';

/** One subject that is not the same in two versions. */
export interface SubjectDifference {
  readonly subject: string;
  readonly op: 'added' | 'removed' | 'changed';
  readonly before: JsonObject | null;
  readonly after: JsonObject | null;
  readonly diff: readonly Difference[];
}

const PACE = 50;

/**
 * What differs, member by member, among subjects that something touched. Both sides are read in today's shape first, so that a state which an older
 * program wrote differs only where its meaning does. What was changed and changed back is no difference. Yields now and then, for others.
 */
export function* differencesOf(kinds: SubjectKinds, touched: readonly TouchedSubject[]): Generator<undefined, SubjectDifference[]> {
  const differences: SubjectDifference[] = [];
  for (const [i, { subject, before: old, after: young }] of touched.entries()) {
    if (i % PACE === PACE - 1) yield undefined;
    if (kinds.of(subject) === undefined) continue;
    const before = kinds.upcast(subject, old.state, old.schemaVersion);
    const after = kinds.upcast(subject, young.state, young.schemaVersion);
    const diff = jsonDiff(before, after);
    if (diff.length === 0) continue;
    differences.push({ subject, op: before === null ? 'added' : after === null ? 'removed' : 'changed', before, after, diff });
  }
  return differences;
}

import { canonicalJson, type Json } from '#platform/kernel/json.js';
import { pointerTo } from '#platform/kernel/pointer.js';

/** One member that differs. A member that one side lacks is null there, and `op` says so. */
export interface Difference {
  readonly op: 'add' | 'remove' | 'replace';
  readonly pointer: string;
  readonly before: Json;
  readonly after: Json;
}

/** What differs between two JSON values: objects member by member, everything else (lists too) as a whole. Ordered by pointer. */
export function jsonDiff(before: Json, after: Json, path: readonly string[] = []): Difference[] {
  if (!isObject(before) || !isObject(after)) {
    return isSame(before, after) ? [] : [{ op: operation(before, after, path), pointer: pointerTo(...path), before, after }];
  }
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return keys.flatMap((key): Difference[] => {
    const [old, young] = [Object.hasOwn(before, key) ? before[key] : undefined, Object.hasOwn(after, key) ? after[key] : undefined];
    if (old === young) return [];
    const inner = [...path, key];
    if (old === undefined) return [{ op: 'add', pointer: pointerTo(...inner), before: null, after: young ?? null }];
    if (young === undefined) return [{ op: 'remove', pointer: pointerTo(...inner), before: old, after: null }];
    return jsonDiff(old, young, inner);
  });
}

function isSame(before: Json, after: Json): boolean {
  // What is not there, or is no object or list, is equal to itself only.
  if (before === null || after === null || typeof before !== 'object' || typeof after !== 'object') return before === after;
  return canonicalJson(before) === canonicalJson(after);
}

function isObject(value: Json): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** At the root, null is a thing that is not there: creation and removal of the whole. */
function operation(before: Json, after: Json, path: readonly string[]): Difference['op'] {
  if (path.length > 0) return 'replace';
  return before === null ? 'add' : after === null ? 'remove' : 'replace';
}

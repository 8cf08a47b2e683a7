/**
 * JSON values of the oracle: compared, written canonically and merged by code of its own, so that a fault of the product's is not repeated here.
 */
export type Value = null | boolean | number | string | Value[] | Members;
export interface Members {
  [key: string]: Value;
}

export function isMembers(value: Value | undefined): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** RFC 8785 for the values that a configuration holds: members by UTF-16 code unit, no white space. */
export function canonical(value: Value): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (!isMembers(value)) return JSON.stringify(value);
  const keys = Object.keys(value).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(value[key] as Value)}`).join(',')}}`;
}

export function same(a: Value | undefined, b: Value | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((item, i) => same(item, b[i]));
  }
  if (!isMembers(a) || !isMembers(b)) return a === b;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
}

/** RFC 7396: null removes, objects merge, everything else replaces. */
export function mergePatch(target: Value | undefined, patch: Value): Value {
  if (!isMembers(patch)) return patch;
  const result: Members = isMembers(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = mergePatch(result[key], value);
  }
  return result;
}

/**
 * Undoes the step from `before` to `after` in `now`, member by member; undefined stands for absence. `conflicts` gets the path of each member that the
 * step changed and that is neither as the step left it nor as it was before it. Objects are undone member by member where `splits` says so for their
 * path (from ''), and as a whole elsewhere.
 */
export function undoStep(
  before: Value | undefined,
  after: Value | undefined,
  now: Value | undefined,
  splits: (path: string) => boolean,
  conflicts: string[],
  path = '',
): Value | undefined {
  if (same(before, after) || same(now, before)) return now;
  if (same(now, after)) return before;
  if (!isMembers(before) || !isMembers(after) || !isMembers(now) || !splits(path)) {
    conflicts.push(path);
    return now;
  }
  const result: Members = {};
  for (const key of new Set([...Object.keys(now), ...Object.keys(before), ...Object.keys(after)])) {
    const value = undoStep(before[key], after[key], now[key], splits, conflicts, `${path}/${key}`);
    if (value !== undefined) result[key] = value;
  }
  return result;
}

/** An operation of a product's diff: what a reader of the answer does with it. */
export interface DiffOperation {
  readonly op: 'add' | 'remove' | 'replace';
  readonly pointer: string;
  readonly before?: Value;
  readonly after?: Value;
}

/** What a value becomes by the operations of a diff, each at its JSON pointer. @throws Error for one that does not fit. */
export function applyDiff(value: Value, operations: readonly DiffOperation[]): Value {
  const root: Members = value === null ? {} : { '': structuredClone(value) };
  for (const { op, pointer, before, after } of operations) {
    const parts = pointer.split('/').map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
    let at: Value = root;
    for (const part of parts.slice(0, -1)) at = (at as Members)[part] as Value;
    const holder = at as Members;
    const key = parts.at(-1) ?? '';
    const found = Object.hasOwn(holder, key) ? holder[key] : undefined;
    if (op !== 'add' && !same(found, before))
      throw new Error(`${op} ${pointer}: expected ${JSON.stringify(before)}, found ${JSON.stringify(found)}`);
    if (op === 'add' && found !== undefined) throw new Error(`add ${pointer}: there is something already`);
    if (op === 'remove') delete holder[key];
    else holder[key] = structuredClone(after as Value);
  }
  return root[''] ?? null;
}

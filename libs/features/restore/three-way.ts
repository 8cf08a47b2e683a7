import { canonicalJson, type Json, type JsonObject } from '#platform/kernel/json.js';
import { pointerTo } from '#platform/kernel/pointer.js';

/** Members that are maps themselves: their entries go back one by one, so that a label of one team is not held up by a label of another. */
const keyed: ReadonlySet<string> = new Set(['labels', 'headers']);

/** A state before and after one change, and as it is now. */
export interface ThreeStates {
  readonly before: JsonObject;
  readonly after: JsonObject;
  readonly current: JsonObject;
}

export interface MergedBack {
  /** The current state without what the change did, as far as nobody has changed it since. */
  readonly state: JsonObject;
  /** JSON pointers of the members that the change and somebody after it set to different things. Sorted. */
  readonly conflicts: readonly string[];
}

/**
 * Takes one change back out of a state that went on: a member that the change set goes back to what it was, unless it has become something else
 * since. Members that the change did not touch stay as they are, whoever set them.
 */
export function mergeBack(states: ThreeStates): MergedBack {
  return mergeMembers(states, []);
}

function mergeMembers({ before, after, current }: ThreeStates, path: readonly string[]): MergedBack {
  const members = new Map<string, Json>(Object.entries(current));
  const conflicts: string[] = [];
  for (const key of [...new Set([...Object.keys(before), ...Object.keys(after)])].sort()) {
    const [was, made, is] = [memberOf(before, key), memberOf(after, key), memberOf(current, key)];
    if (sameJson(was, made) || sameJson(is, was)) continue;
    if (sameJson(is, made)) {
      if (was === undefined) members.delete(key);
      else members.set(key, was);
    } else if (path.length === 0 && keyed.has(key) && [was, made, is].every(isMap)) {
      const inner = mergeMembers({ before: asMap(was), after: asMap(made), current: asMap(is) }, [key]);
      members.set(key, inner.state);
      conflicts.push(...inner.conflicts);
    } else conflicts.push(pointerTo(...path, key));
  }
  return { state: Object.fromEntries(members), conflicts };
}

/** Equal as JSON; what is not there equals only what is not there. */
export function sameJson(a: Json | undefined, b: Json | undefined): boolean {
  return a === undefined || b === undefined ? a === b : canonicalJson(a) === canonicalJson(b);
}

function memberOf(object: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

function isMap(value: Json | undefined): boolean {
  return value === undefined || (typeof value === 'object' && value !== null && !Array.isArray(value));
}

function asMap(value: Json | undefined): JsonObject {
  return (value ?? {}) as JsonObject;
}

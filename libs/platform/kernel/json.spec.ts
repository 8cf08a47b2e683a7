import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { canonicalJson } from './json.js';

/** What canonical JSON is, as plainly as it can be written: the fast one must give the same bytes. */
function plainly(value: unknown): string {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return JSON.stringify(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new RangeError(`not a JSON number: ${value}`);
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map((item) => plainly(item ?? null)).join(',')}]`;
  if (typeof value === 'object') {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, member]) => `${JSON.stringify(key)}:${plainly(member)}`);
    return `{${members.join(',')}}`;
  }
  throw new RangeError(`not a JSON value: ${typeof value}`);
}

function result(write: (value: unknown) => string, value: unknown): string {
  try {
    return write(value);
  } catch (error) {
    return String(error);
  }
}

/** Keys that sort differently as numbers, as text and in an object; that are special to it; that only code units tell apart. */
const key = fc.oneof(
  fc.constantFrom('__proto__', 'constructor', 'toJSON', 'length', '', '0', '1', '9', '10', '2', '-1', '01', '4294967295', '1e3', '.5'),
  fc.constantFrom('a', 'B', 'aa', 'é', '\u{1f600}', '\uffff', '\ud800', 'a b', '"', '\\', '\n', '\u2028'),
  fc.string({ maxLength: 3, unit: 'binary' }),
);
const scalar = fc.oneof(
  fc.constantFrom(null, true, false, undefined, 0, -0, 1e21, 5e-324, 2 ** 53, '', '\ud83d', '\u0000'),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.string({ unit: 'binary' }),
);
const { value: anything } = fc.letrec((tie) => ({
  value: fc.oneof({ depthSize: 'medium' }, scalar, fc.array(tie('value'), { maxLength: 5 }), tie('object'), tie('instance')),
  object: fc.array(fc.tuple(key, tie('value')), { maxLength: 8 }).map((members) => Object.fromEntries(members)),
  instance: tie('object').map((object) => Object.assign(new Date(0), object)),
}));
/** As above, with what JSON cannot say here and there. */
const impossible = fc.tuple(
  anything,
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, 1n, Symbol('s'), () => 1),
  key,
);

describe('canonical JSON', () => {
  test('has the bytes that the plain way gives', () => {
    fc.assert(
      fc.property(anything, (value) => {
        expect(result(canonicalJson, value)).toBe(result(plainly, value));
      }),
      { numRuns: 2_000 },
    );
  });

  test('lists the members by code unit, in whichever order they were added', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(key, fc.integer()), { selector: ([name]) => name }), (members) => {
        const text = canonicalJson(Object.fromEntries(members));
        expect(canonicalJson(Object.fromEntries(members.toReversed()))).toBe(text);
        const sorted = members.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([name, n]) => `${JSON.stringify(name)}:${n}`);
        expect(text).toBe(`{${sorted.join(',')}}`);
      }),
    );
  });

  test('changes nothing of what it is given', () => {
    const value = { b: [{ d: 1, c: 2 }], a: { z: undefined, y: [3] } };
    canonicalJson(value);
    expect(Object.keys(value)).toEqual(['b', 'a']);
    expect(Object.keys(value.b[0] ?? {})).toEqual(['d', 'c']);
  });

  test('refuses what JSON cannot say, wherever it stands', () => {
    fc.assert(
      fc.property(impossible, ([value, odd, name]) => {
        for (const whole of [odd, [value, odd], { [name]: { b: odd, a: value } }]) {
          expect(result(canonicalJson, whole)).toBe(result(plainly, whole));
          expect(() => canonicalJson(whole)).toThrow(RangeError);
        }
      }),
    );
  });
});

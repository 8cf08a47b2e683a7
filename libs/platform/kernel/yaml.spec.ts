import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parse } from 'yaml';

import { canonicalJson, type Json } from './json.js';
import { canonicalYaml } from './yaml.js';

/** Keys and texts that look like something else to a reader of YAML. */
const awkward = fc.constantFrom(
  ...[
    '',
    ' ',
    'no',
    'Yes',
    'NULL',
    '~',
    '1',
    '1e3',
    '0x1',
    '-',
    '- a',
    '? a',
    'a: b',
    'a #b',
    '#',
    '*',
    '&a',
    '!t',
    '%d',
    '@',
    '`',
    '"',
    "'",
  ],
  ...[
    '{}',
    '[]',
    '[a',
    '|',
    '>',
    '2026-11-25',
    '12:30:45',
    '.inf',
    'a\nb',
    '\t',
    'tail ',
    '\u0085',
    '\u2028',
    '\ufeff',
    '\u007f',
    '/user/',
  ],
  ...['true', '<<', '=', '---', '...', 'ünïcödé', '😀', '\ud800', '__proto__', 'a_b', 'a.b', '10'],
);
const value: fc.Arbitrary<Json> = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constant(null),
    fc.boolean(),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => (Object.is(number, -0) ? 0 : number)),
    awkward,
    fc.string({ unit: 'binary', maxLength: 12 }),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.oneof(awkward, fc.string({ maxLength: 6 })), tie('value'), { maxKeys: 4 }),
  ),
})).value;

describe('canonical YAML', () => {
  test('is block style, sorted, quoted only where it must be', () => {
    const text = canonicalYaml({
      mappings: [
        { name: 'user', host: '*', methods: ['GET', 'ON'], labels: {}, headers: { 'x-a': '1' } },
        { name: 'b', methods: [] },
      ],
      settings: { idle: 5000, off: true, none: null },
      empty: [],
      nested: [[1, [2, 'three']], []],
    });
    expect(text).toBe(`empty: []
mappings:
  - headers:
      x-a: "1"
    host: "*"
    labels: {}
    methods:
      - GET
      - "ON"
    name: user
  - methods: []
    name: b
nested:
  - - 1
    - - 2
      - three
  - []
settings:
  idle: 5000
  none: null
  "off": true
`);
  });

  test.each(['1.1', '1.2'] as const)('a reader of YAML %s finds the same value', (version) => {
    fc.assert(
      fc.property(value, (one) => {
        const read = parse(canonicalYaml(one), { version, maxAliasCount: 0, merge: false });
        expect(canonicalJson(read)).toBe(canonicalJson(one));
      }),
      { numRuns: 400 },
    );
  });

  test('equal values give equal bytes, whatever order they were made in', () => {
    expect(canonicalYaml({ b: 1, a: { d: 1, c: 2 } })).toBe(canonicalYaml({ a: { c: 2, d: 1 }, b: 1 }));
    expect(canonicalYaml('no')).toBe('"no"\n');
    expect(canonicalYaml({})).toBe('{}\n');
    expect(() => canonicalYaml(Number.NaN)).toThrow(RangeError);
  });
});

import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';

import { DomainError } from '#platform/kernel/errors.js';

import { parseLongJson, parseStrictJson } from './strict-json.js';

function refusal(text: string): readonly [string, string | undefined] {
  try {
    parseStrictJson(text);
  } catch (error) {
    if (error instanceof DomainError) return [error.code, error.errors[0]?.pointer];
    throw error;
  }
  throw new Error(`was accepted: ${text}`);
}

describe('strict JSON', () => {
  it('reads what JSON.parse reads, whatever the value', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 8 }), fc.constantFrom(undefined, 1, '\t'), (value, space) => {
        const text = JSON.stringify(value, null, space);
        fc.pre(!text.includes('__proto__'));
        expect(parseStrictJson(text)).toEqual(JSON.parse(text));
      }),
    );
  });

  it('refuses what JSON.parse refuses, wherever a text is damaged', () => {
    const refusals = ['json_invalid', 'json_duplicate_key', 'forbidden_key'];
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.nat(), fc.string({ maxLength: 2 }), (value, at, damage) => {
        const text = JSON.stringify(value);
        const damaged = text.slice(0, at % (text.length + 1)) + damage + text.slice((at % (text.length + 1)) + 1);
        let expected: unknown;
        try {
          expected = JSON.parse(damaged);
        } catch {
          expect(refusals).toContain(refusal(damaged)[0]); // the first fault of the text, which may be another one than JSON.parse's
          return;
        }
        try {
          expect(parseStrictJson(damaged)).toEqual(expected);
        } catch (error) {
          if (!(error instanceof DomainError)) throw error;
          expect(refusals).toContain(error.code); // stricter on purpose
        }
      }),
    );
  });

  it.each([
    ['{"a":1,"a":2}', 'json_duplicate_key', '/a'],
    ['{"a":{"b":[{},{"c":1,"\\u0063":2}]}}', 'json_duplicate_key', '/a/b/1/c'],
    ['{"a/b":{"x":1,"x":1}}', 'json_duplicate_key', '/a~1b/x'],
    ['{"__proto__":{}}', 'forbidden_key', '/__proto__'],
    ['[1e999]', 'json_invalid', '/0'],
    ['[01]', 'json_invalid', ''],
    ['[1,]', 'json_invalid', '/1'],
    ['"\u0000"', 'json_invalid', ''],
    ['"\\u12"', 'json_invalid', ''],
    ['', 'json_invalid', ''],
    ['{}{}', 'json_invalid', ''],
    ['\ufeff{}', 'json_invalid', ''],
  ])('refuses %j', (text, code, pointer) => {
    expect(refusal(text)).toEqual([code, pointer]);
  });

  it('bounds the depth, not the stack', () => {
    expect(parseStrictJson(`${'['.repeat(20)}${']'.repeat(20)}`)).toBeDefined();
    expect(refusal(`${'['.repeat(21)}${']'.repeat(21)}`)[0]).toBe('json_too_deep');
    expect(refusal('{"a":'.repeat(200_000))[0]).toBe('json_too_deep');
  });

  it('takes no more than linear time on a long string that never ends', () => {
    const start = performance.now();
    expect(refusal(`"${'\\u0041'.repeat(40_000)}`)[0]).toBe('json_invalid');
    expect(refusal(`"${'a'.repeat(250_000)}`)[0]).toBe('json_invalid');
    expect(performance.now() - start).toBeLessThan(500);
  });

  it('reads strings of megabytes, plain or all escapes', () => {
    const plain = JSON.stringify({ a: 'x'.repeat(20_000_000) });
    expect((parseStrictJson(plain) as { a: string }).a).toHaveLength(20_000_000);
    const escapes = JSON.stringify({ a: '\n'.repeat(5_000_000) });
    expect((parseStrictJson(escapes) as { a: string }).a).toHaveLength(5_000_000);
    expect(refusal(`"${'a'.repeat(20_000_000)}`)[0]).toBe('json_invalid');
  });

  it('reads a long text the same, and lets others have their turn meanwhile', async () => {
    const mappings = Array.from({ length: 25_000 }, (_, i) => ({
      name: `m${i}`,
      prefix: `/m${i}/`,
      methods: ['GET'],
      labels: { a: '\u0000' },
    }));
    const text = JSON.stringify({ mappings });
    let turns = 0;
    let over = false;
    const count = () => {
      turns += 1;
      if (!over) setImmediate(count);
    };
    setImmediate(count);
    expect(await parseLongJson(text)).toEqual({ mappings });
    expect(turns).toBeGreaterThan(text.length / 1_000_000 - 1);
    const twice = text.replace('"name":"m24999"', '"name":"x","name":"y"');
    await expect(parseLongJson(twice)).rejects.toMatchObject({ code: 'json_duplicate_key', errors: [{ pointer: '/mappings/24999/name' }] });
    await expect(parseLongJson(text.slice(0, -2))).rejects.toMatchObject({ code: 'json_invalid' });
    over = true;
  }, 60_000); // the comparison takes its time on a busy machine
});

describe('a long text in pieces', () => {
  const long = (item: string) => new Array(Math.ceil(900_000 / item.length)).fill(item).join(',');

  it.each([
    [
      'lists between other members, and within their items',
      `{"a":1,"b":[${long('{"c":[1,{"d":"],["}],"e":"\\\\\\""}')}],"f":[],"g":{"h":[2]},"i":[${long(`"${'x'.repeat(300)}"`)}]}`,
    ],
    ['a key that has to be decoded', `{"\\u0061\\"":[${long('[[],{}]')}]}`],
    ['white space everywhere', `\n{ "a" : [ ${long('\t{ "b" : null }\n')} ] , "c" : [ ] }\r\n`],
    ['a list as the whole', `[${long(`"${'y'.repeat(300)}"`)}]`],
    ['a list that lies deeper', `{"a":{"b":[${long(`"${'y'.repeat(300)}"`)}]}}`],
  ])('is what JSON.parse makes of it: %s', async (_, text) => {
    expect(JSON.stringify(await parseLongJson(text))).toBe(JSON.stringify(JSON.parse(text)));
  });
});

import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { stringify } from 'yaml';

import { DomainError } from '#platform/kernel/errors.js';

import { readYaml } from './yaml-body.js';

function refusal(text: string): readonly [string, string | undefined] {
  try {
    readYaml(text);
  } catch (error) {
    if (error instanceof DomainError) return [error.code, error.errors[0]?.pointer];
    throw error;
  }
  throw new Error(`was accepted: ${text}`);
}

describe('YAML as JSON', () => {
  it('reads what stands for a JSON value, whatever the value', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6, stringUnit: 'grapheme' }), (value) => {
        const json = JSON.stringify(value);
        fc.pre(!json.includes('__proto__'));
        expect(readYaml(stringify(JSON.parse(json), { lineWidth: 0 }))).toEqual(JSON.parse(json));
        expect(readYaml(json)).toEqual(JSON.parse(json)); // JSON is YAML
      }),
    );
  });

  it('knows the words of YAML 1.2 only, and keys as text', () => {
    expect(readYaml('a: yes\nb: no\nc: 010\nd: 2024-01-01\ne: ~\n1: x\ntrue: y')).toEqual({
      a: 'yes',
      b: 'no',
      c: 10,
      d: '2024-01-01',
      e: null,
      '1': 'x',
      true: 'y',
    });
    expect(readYaml('a: &x {b: 1}\nc: *x')).toEqual({ a: { b: 1 }, c: { b: 1 } });
    expect(readYaml('')).toBeNull();
  });

  it.each([
    ['a: 1\na: 2', 'yaml_invalid', ''],
    ['a: 1\n---\nb: 2', 'yaml_invalid', ''],
    ['a: !!js/function x', 'yaml_invalid', ''],
    ['a: !!binary aGk=', 'yaml_invalid', ''],
    ['{a: [1, .nan]}', 'yaml_invalid', '/a/1'],
    ['a: -.inf', 'yaml_invalid', '/a'],
    ['a: 1e999', 'yaml_invalid', '/a'],
    ['? [1, 2]\n: x', 'yaml_invalid', ''],
    ['a: {__proto__: {b: 1}}', 'forbidden_key', '/a/__proto__'],
    ['a: *nothing', 'yaml_invalid', ''],
    ['\ta: 1', 'yaml_invalid', ''],
    ['a: "', 'yaml_invalid', ''],
    ['a: &a [*a]', 'yaml_too_deep', '/a/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0'],
  ])('refuses %j', (text, code, pointer) => {
    expect(refusal(text)).toEqual([code, pointer]);
  });

  it('bounds aliases and depth', () => {
    const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'];
    for (let i = 1; i < 10; i++)
      lines.push(
        `a${i}: &a${i} [${Array(10)
          .fill(`*a${i - 1}`)
          .join(', ')}]`,
      );
    expect(refusal(lines.join('\n'))[0]).toBe('yaml_invalid');
    expect(refusal(`${'['.repeat(21)}${']'.repeat(21)}`)[0]).toBe('yaml_too_deep');
    expect(refusal('['.repeat(100_000))[0]).toMatch(/^yaml_/);
  });
});

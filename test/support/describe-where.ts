import { describe, expect, test } from '@jest/globals';

/**
 * Tests that need something which not every machine has. Where it is missing (`lacking` says what), they are not run: one test says so in their place,
 * and the reason is printed, so that nobody takes them for passed.
 */
export function describeWhere(lacking: string | undefined, name: string, body: () => void): void {
  if (lacking === undefined) {
    describe(name, body);
    return;
  }
  process.stderr.write(`not run: ${name}: ${lacking}\n`);
  test(`${name}: not run here: ${lacking}`, () => {
    expect(lacking).not.toBe('');
  });
}

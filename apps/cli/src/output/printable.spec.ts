import { describe, expect, it } from '@jest/globals';

import { displayWidth, printable, printableJson, printableLines } from './printable.js';

const ESC = '\u001b';

describe('text of others on a terminal', () => {
  it.each([
    [`${ESC}[2J${ESC}]0;owned\u0007`, '\\u001b[2J\\u001b]0;owned\\u0007'],
    ['a\nb\r\tc', 'a\\nb\\r\\tc'],
    ['\u009b31mred', '\\u009b31mred'],
    ['\u007f', '\\u007f'],
    ['abc\u202egpj.exe', 'abc\\u202egpj.exe'],
    ['\u2066x\u2069', '\\u2066x\\u2069'],
    ['one\u2028two', 'one\\u2028two'],
    ['\ud800', '\\ud800'],
    ['Ünïcødé 表 👩‍👧 ok', 'Ünïcødé 表 👩‍👧 ok'],
  ])('makes %j harmless', (text, shown) => {
    expect(printable(text)).toBe(shown);
  });

  it('keeps the lines of a text of several', () => {
    expect(printableLines(`one\ntwo${ESC}[1m`)).toBe('one\ntwo\\u001b[1m');
  });

  it('keeps what JSON says', () => {
    const value = { name: `x\u009b\u202e\u007f${ESC}[1m\u2028`, list: ['表'] };
    const text = printableJson(JSON.stringify(value));
    expect(text).not.toMatch(/[\p{Cc}\u2028\u202e]/u);
    expect(JSON.parse(text)).toEqual(value);
  });
});

describe('the width of text', () => {
  it.each([
    ['', 0],
    ['abc', 3],
    ['表示', 4],
    ['ｆｕｌｌ', 8],
    ['e\u0301', 1],
    ['한글', 4],
    ['👩‍👧', 2],
    ['🚀x', 3],
    ['❤️', 2],
    ['…→', 2],
    ['\u200b', 0],
  ])('of %j is %i cells', (text, cells) => {
    expect(displayWidth(text)).toBe(cells);
  });
});

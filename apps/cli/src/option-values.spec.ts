import { describe, expect, it } from '@jest/globals';

import {
  confirmWithin,
  count,
  duration,
  moment,
  pairs,
  several,
  version,
  versionOrZero,
  versionRange,
  wholeNumber,
} from './option-values.js';

const refused = /^It must be/;

describe('what options say', () => {
  it.each([
    ['250ms', 250],
    ['90s', 90_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['7d', 604_800_000],
    ['0s', 0],
  ])('the time %s', (text, ms) => {
    expect(duration(text)).toBe(ms);
  });

  it.each(['', '5', 'm', '-5m', '5 m', '1.5h', '5M', '5m5s', '1e3s', '9999999999s'])('no time: %j', (text) => {
    expect(() => duration(text)).toThrow(refused);
  });

  it.each(['1s', '5m', '24h', '1000ms'])('a time to confirm in: %s', (text) => {
    expect(confirmWithin(text)).toBe(text);
  });

  it.each(['999ms', '25h', '1d', '0s', 'soon'])('no time to confirm in: %s', (text) => {
    expect(() => confirmWithin(text)).toThrow(refused);
  });

  it('versions and counts', () => {
    expect([version('12'), versionOrZero('0'), versionOrZero('3'), count('7'), wholeNumber('-4')]).toEqual([12, 0, 3, 7, -4]);
    for (const text of ['0', '-1', '1.0', '01', 'x', '', '9'.repeat(16)]) expect(() => version(text)).toThrow(refused);
    expect(() => versionOrZero('-1')).toThrow(refused);
    expect(() => count('0')).toThrow(refused);
    expect(() => wholeNumber('1.5')).toThrow(refused);
  });

  it.each([
    ['7..12', { from: 7, to: 12 }],
    ['12..7', { from: 12, to: 7 }],
    ['0..3', { from: 0, to: 3 }],
    ['7..', { from: 7, to: undefined }],
    ['12', { from: 11, to: 12 }],
    ['1', { from: 0, to: 1 }],
  ])('the range %s', (text, range) => {
    expect(versionRange(text)).toEqual(range);
  });

  it.each(['', '..', '..3', 'a..b', '1...2', '0', '-1..2', '1..2..3'])('no range: %j', (text) => {
    expect(() => versionRange(text)).toThrow(refused);
  });

  it('moments, and how long ago', () => {
    expect(moment('2026-11-25T03:00:00Z')).toBe('2026-11-25T03:00:00.000Z');
    expect(moment('2026-11-25')).toBe('2026-11-25T00:00:00.000Z');
    const before = Date.now() - 7_200_000;
    const said = Date.parse(moment('2h'));
    expect(said).toBeGreaterThanOrEqual(before);
    expect(said).toBeLessThanOrEqual(Date.now() - 7_200_000);
    for (const text of ['yesterday', '12', '2026-13-45', '']) expect(() => moment(text)).toThrow(refused);
  });

  it('what may be said several times', () => {
    expect(several('b', several('a', undefined))).toEqual(['a', 'b']);
    expect(pairs('b=2=3', pairs('a=1', undefined))).toEqual({ a: '1', b: '2=3' });
    for (const text of ['a', '=a', '']) expect(() => pairs(text, undefined)).toThrow(refused);
  });
});

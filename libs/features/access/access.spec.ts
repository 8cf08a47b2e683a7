import { describe, expect, it } from '@jest/globals';

import type { View } from '#platform/eventstore/event-store.js';
import { addressKey } from '#platform/http/address-key.js';

import { presentedToken } from './access.guard.js';
import { createToken, revokeToken, type TokenState, useToken } from './access.js';
import { AttemptLimiter } from './attempt-limiter.js';
import { newToken, parseToken } from './token-format.js';

const state: TokenState = {
  id: '0123456789abcdef',
  name: 'ci',
  scopes: ['read'],
  secretSha256: 'ab'.repeat(32),
  createdAt: '2026-01-01T00:00:00.000Z',
  expiresAt: '2026-01-02T00:00:00.000Z',
  createdBy: 'system',
  revokedAt: null,
};

const viewOf = (found: TokenState | null): View => ({
  streamVersion: 1,
  subject: (subject) => ({ subject, version: found === null ? 0 : 1, streamVersion: 1, schemaVersion: 1, state: found, recordedAt: null }),
});

describe('the decisions of access', () => {
  it('create a token once', () => {
    expect(createToken(state)(viewOf(null))).toMatchObject([{ type: 'TokenCreated', subject: 'token/0123456789abcdef', state }]);
    expect(() => createToken(state)(viewOf(state))).toThrow('A token of this id exists');
  });

  it('record the first use of a token once, also of one that was made before first uses were recorded', () => {
    for (const unused of [state, { ...state, firstUsedAt: null }]) {
      expect(useToken(state.id, 'now')(viewOf(unused))).toMatchObject([
        { type: 'TokenFirstUsed', state: { ...state, firstUsedAt: 'now' } },
      ]);
    }
    expect(useToken(state.id, 'later')(viewOf({ ...state, firstUsedAt: 'now' }))).toEqual([]);
    expect(useToken(state.id, 'now')(viewOf({ ...state, revokedAt: 'before' }))).toEqual([]);
    expect(useToken(state.id, 'now')(viewOf(null))).toEqual([]);
  });

  it('revoke a token once, and forget its hash', () => {
    const [event] = revokeToken(state.id, 'now')(viewOf(state));
    expect(event).toMatchObject({ type: 'TokenRevoked', state: { ...state, secretSha256: null, revokedAt: 'now' } });
    expect(revokeToken(state.id, 'later')(viewOf({ ...state, revokedAt: 'now' }))).toEqual([]);
    expect(() => revokeToken(state.id, 'now')(viewOf(null))).toThrow('There is no token');
  });
});

describe('the text of a token', () => {
  it('is read back, and never the same', () => {
    const tokens = Array.from({ length: 100 }, newToken);
    for (const { id, secret, text } of tokens) expect(parseToken(text)).toEqual({ id, secret });
    expect(new Set(tokens.map((token) => token.secret)).size).toBe(100);
  });

  it.each([
    '',
    'chy_',
    'chy_0123456789abcdef_',
    `chy_0123456789abcdef_${'a'.repeat(42)}`,
    `CHY_0123456789abcdef_${'a'.repeat(43)}`,
    `chy_0123456789ABCDEF_${'a'.repeat(43)}`,
  ])('is not %j', (text) => {
    expect(parseToken(text)).toBeUndefined();
  });

  it.each([
    [undefined, undefined],
    ['Bearer abc', 'abc'],
    ['bearer  abc', 'abc'],
    [`Basic ${Buffer.from('x:abc').toString('base64')}`, 'abc'],
    [`Basic ${Buffer.from('x:a:b').toString('base64')}`, 'a:b'],
    [`Basic ${Buffer.from('abc').toString('base64')}`, undefined],
    ['Digest abc', undefined],
    ['abc', undefined],
    ['Bearer a b', undefined],
  ])('is found in the header %j', (header, token) => {
    expect(presentedToken(header)).toBe(token);
  });
});

describe('the limit on failed attempts', () => {
  it('counts failures, forgives with time, and is per key', () => {
    let now = 0;
    const limiter = new AttemptLimiter(() => now);
    const refusals = Array.from({ length: 100 }, () => limiter.failed(['address/a']));
    expect(refusals.filter((after) => after === undefined)).toHaveLength(30);
    expect([limiter.limited('address/a'), limiter.limited('address/b')]).toEqual([true, false]);
    now += 2_000;
    expect(limiter.limited('address/a')).toBe(false);
    expect(limiter.failed(['address/a'])).toBeUndefined();
    expect(limiter.failed(['address/a'])).toBe(2);
  });

  it('keeps a bounded number of keys, and forgets the oldest first', () => {
    const limiter = new AttemptLimiter(() => 0);
    for (let i = 0; i < 31; i++) limiter.failed(['address/first']);
    for (let i = 0; i < 9_998; i++) limiter.failed([`address/${i}`]);
    expect(limiter.limited('address/first')).toBe(true);
    for (let i = 0; i < 20; i++) limiter.failed([`address/later${i}`]);
    expect(limiter.limited('address/first')).toBe(false);
  });

  it.each([
    ['127.0.0.1', 'address/127.0.0.1'],
    ['::ffff:10.0.0.1', 'address/10.0.0.1'],
    ['2001:db8:1:2:3:4:5:6', 'address/2001:db8:1:2'],
    ['2001:db8:1:2::9', 'address/2001:db8:1:2'],
    ['2001:db8::9', 'address/2001:db8:0:0'],
    ['::1', 'address/0:0:0:0'],
  ])('takes %s as %s', (address, key) => {
    expect(addressKey(address)).toBe(key);
  });
});

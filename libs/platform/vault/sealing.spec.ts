import { randomBytes, randomUUID } from 'node:crypto';
import { inspect } from 'node:util';

import { describe, expect, it } from '@jest/globals';

import { rewrap, SealBroken, type SealedSecret, type SecretPlace, seal, unseal } from './sealing.js';
import { Secret } from './secret.js';

const kek = { id: 'one', bytes: randomBytes(32) };
const other = { id: 'two', bytes: randomBytes(32) };
const place: SecretPlace = { id: randomUUID(), gateway: 'default', name: 'edge', version: 3 };
const text = Buffer.from('the key of the gateway');
const sealed = seal(text, place, kek, 'the chain');

const flip = (bytes: Buffer, bit: number): Buffer => {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
  return copy;
};
const broken = (changed: Partial<SealedSecret>, at: Partial<SecretPlace> = {}, bound = 'the chain', key = kek) =>
  expect(() => unseal({ ...sealed, ...changed }, { ...place, ...at }, key, bound)).toThrow(SealBroken);

describe('a sealed secret', () => {
  it('opens as what it was', () => {
    expect(unseal(sealed, place, kek, 'the chain')).toEqual(text);
    expect(sealed.kekId).toBe('one');
  });

  it('is never sealed twice alike', () => {
    const again = seal(text, place, kek, 'the chain');
    for (const part of ['iv', 'ciphertext', 'wrappedKey'] as const) expect(again[part].equals(sealed[part])).toBe(false);
  });

  it('does not open with any one bit of it flipped', () => {
    for (const part of ['wrappedKey', 'iv', 'tag', 'ciphertext'] as const)
      for (let bit = 0; bit < sealed[part].length * 8; bit++) broken({ [part]: flip(sealed[part], bit) });
  });

  it('does not open with anything cut off or added', () => {
    for (const part of ['wrappedKey', 'iv', 'tag', 'ciphertext'] as const) {
      for (let length = 0; length < sealed[part].length; length++) broken({ [part]: sealed[part].subarray(0, length) });
      broken({ [part]: Buffer.concat([sealed[part], Buffer.alloc(1)]) });
    }
  });

  it('does not open in another place, beside other words, or with another key', () => {
    broken({}, { id: randomUUID() });
    broken({}, { gateway: 'other' });
    broken({}, { name: 'other' });
    broken({}, { version: 4 });
    broken({}, {}, 'another chain');
    broken({}, {}, 'the chain', { id: 'one', bytes: other.bytes });
    broken({}, {}, 'the chain', { id: 'two', bytes: kek.bytes });
  });

  it('opens with the next key once its own is under that, and no more with the first', () => {
    const moved = { ...sealed, kekId: 'two', wrappedKey: rewrap(sealed.wrappedKey, place, kek, other) };
    expect(unseal(moved, place, other, 'the chain')).toEqual(text);
    expect(() => unseal(moved, place, kek, 'the chain')).toThrow(SealBroken);
    expect(() => rewrap(flip(sealed.wrappedKey, 99), place, kek, other)).toThrow(SealBroken);
  });
});

describe('a Secret', () => {
  it('shows nothing of itself, whichever way it is printed', () => {
    const secret = new Secret('hunter2');
    const ways = [
      `${secret}`,
      String(secret),
      JSON.stringify({ secret }),
      inspect(secret),
      inspect({ deep: [secret] }, { depth: 9, showHidden: true }),
      ['', secret].join(' '),
    ];
    for (const shown of ways) expect([shown.includes('hunter2'), shown.includes('[redacted]')]).toEqual([false, true]);
    expect(Object.entries(secret)).toEqual([]);
    expect(secret.reveal()).toBe('hunter2');
  });
});

import { createPrivateKey, generateKeyPairSync } from 'node:crypto';

import { expect, test } from '@jest/globals';

import { keysIn, marksOf } from './key-forms.js';

const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const keys = [marksOf('ec', ec), marksOf('rsa', rsa)];

const formsOf = (pem: string, old: 'sec1' | 'pkcs1'): [string, Buffer][] => {
  const key = createPrivateKey(pem);
  const pems: [string, Buffer][] = (['pkcs8', old] as const).flatMap((type) => [
    [`${type} PEM`, Buffer.from(key.export({ type, format: 'pem' } as never) as unknown as string)],
    [`${type} DER`, key.export({ type, format: 'der' } as never) as unknown as Buffer],
  ]);
  const jwk = Buffer.from(JSON.stringify(key.export({ format: 'jwk' })));
  const plain: [string, Buffer][] = [...pems, ['JWK', jwk]];
  return plain
    .flatMap(([form, bytes]): [string, Buffer][] => [
      [form, Buffer.concat([Buffer.from('before'), bytes, Buffer.from('after')])],
      [`${form} in JSON`, Buffer.from(JSON.stringify({ key: bytes.toString('latin1') }))].slice(0, form.endsWith('DER') ? 0 : 2) as [
        string,
        Buffer,
      ],
      [`${form} in hexadecimal`, Buffer.from(`\\x${bytes.toString('hex')}`)],
      [`${form} in base64`, Buffer.from(bytes.toString('base64'))].slice(0, form.endsWith('DER') ? 2 : 0) as [string, Buffer],
    ])
    .filter((one) => one.length === 2);
};

test.each(formsOf(ec, 'sec1'))('an EC key is met as %s', (_form, bytes) => {
  expect(keysIn(bytes, keys)).toEqual(['ec']);
});
test.each(formsOf(rsa, 'pkcs1'))('an RSA key is met as %s', (_form, bytes) => {
  expect(keysIn(bytes, keys)).toEqual(['rsa']);
});
test('what holds neither is passed over', () => {
  const other = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  expect(keysIn(Buffer.from(other), keys)).toEqual([]);
});

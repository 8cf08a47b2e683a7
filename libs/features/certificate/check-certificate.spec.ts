import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from '@jest/globals';

import { DomainError } from '#platform/kernel/errors.js';
import { Secret } from '#platform/vault/secret.js';

import { type BadPair, badPairs } from './bad-pairs.fixture.js';
import { makeCertificate, makeChain } from './certificate.fixture.js';
import { type CheckedKeyPair, checkCertificate } from './check-certificate.js';

const now = new Date();

function check(certificateChain: string, privateKey: string): Promise<CheckedKeyPair> {
  return checkCertificate({ certificateChain, privateKey: new Secret(privateKey) }, now);
}

async function refusal({ chain, key }: Pick<BadPair, 'chain' | 'key'>): Promise<DomainError> {
  try {
    await check(chain, key);
  } catch (error) {
    if (error instanceof DomainError) return error;
    throw error;
  }
  return new DomainError('conflict', 'taken', 'It was taken as if nothing were wrong with it.');
}

describe('a pair that is', () => {
  const cases = badPairs();

  it('bad is refused for its own reason, at its own place', async () => {
    const bad = await cases;
    expect(bad.length).toBeGreaterThanOrEqual(80);
    const expected = bad.map(({ what, code, pointer }) => ({ what, kind: 'invalid', code, pointer }));
    const found = [];
    for (const one of bad) {
      const { kind, code, errors } = await refusal(one);
      found.push({ what: one.what, kind, code, pointer: errors[0]?.pointer });
    }
    expect(found).toEqual(expected);
  }, 60_000);

  it('bad is refused for a reason that the documentation lists', async () => {
    const docs = readFileSync(join(import.meta.dirname, '../../../docs/api.md'), 'utf8');
    const codes = new Set((await cases).map(({ code }) => code));
    expect([...codes].filter((code) => !docs.includes(`\`${code}\``))).toEqual([]);
  });

  it('bad is told in words that say what to do, and never with a part of the key', async () => {
    for (const one of await cases) {
      const error = await refusal(one);
      expect([one.what, error.message.length > 30, error.cause]).toEqual([one.what, true, undefined]);
      const secret = one.key.replaceAll(/-----[A-Z ]+-----/g, '').trim();
      const parts = secret.length > 60 ? (secret.match(/[A-Za-z0-9+/]{12}/g) ?? []) : [];
      const said = JSON.stringify([error.message, error.errors, error.extra]);
      expect([one.what, parts.filter((part) => said.includes(part))]).toEqual([one.what, []]);
    }
  });

  it('wrong in several ways is told all of them', async () => {
    const made = await makeCertificate({ from: -9, until: -1, dns: ['*'] });
    const { errors } = await refusal({ chain: made.pem, key: made.key });
    expect(errors.map(({ code }) => code)).toEqual(['certificate_expired', 'san_wildcard_wrong']);
  });

  it('good is taken with its facts', async () => {
    const { leaf, between } = await makeChain({
      dns: ['WWW.example.com', '*.api.example.com', 'www.example.com'],
      ip: ['192.0.2.1', '2001:db8::1'],
    });
    const { facts, warnings, certificateChain, privateKey } = await check(leaf.pem + between.pem, leaf.key);
    expect(facts).toMatchObject({
      subject: 'CN=www.example.com',
      issuer: 'CN=Example Issuing CA',
      sans: { dns: ['www.example.com', '*.api.example.com'], ip: ['192.0.2.1', '2001:db8::1'] },
      keyAlgorithm: 'EC P-256',
      chainLength: 2,
      fingerprint: new X509Certificate(leaf.pem).fingerprint256.replaceAll(':', '').toLowerCase(),
    });
    expect(facts.chainFingerprint).toMatch(/^[0-9a-f]{64}$/);
    expect(warnings.map(({ code }) => code)).toEqual(['san_ip']);
    expect(certificateChain).toBe(leaf.pem + between.pem);
    expect(createPublicKey(privateKey.reveal()).equals(new X509Certificate(leaf.pem).publicKey)).toBe(true);
  });

  it('good is the same however it is written', async () => {
    const { leaf, between } = await makeChain();
    const plain = await check(leaf.pem + between.pem, leaf.key);
    const indented = `\ufeff\r\n  ${(leaf.pem + between.pem).replaceAll('\n', ' \r\n\t')}\r\n\r\n`;
    const again = await check(indented, leaf.key.replaceAll('\n', '\r\n'));
    expect([again.facts, again.certificateChain, again.privateKey.reveal()]).toEqual([
      plain.facts,
      plain.certificateChain,
      plain.privateKey.reveal(),
    ]);
  });

  it('good may have its key in any of the three forms', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const keys = {
      privateKey: await crypto.subtle.importKey(
        'pkcs8',
        privateKey.export({ type: 'pkcs8', format: 'der' }),
        { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
        true,
        ['sign'],
      ),
      publicKey: await crypto.subtle.importKey(
        'spki',
        createPublicKey(privateKey).export({ type: 'spki', format: 'der' }),
        { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
        true,
        ['verify'],
      ),
    };
    const rsa = await makeCertificate({ keys, algorithm: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' } as never });
    for (const type of ['pkcs8', 'pkcs1'] as const)
      expect((await check(rsa.pem, privateKey.export({ type, format: 'pem' }).toString())).facts.keyAlgorithm).toBe('RSA 2048');
    const ec = await makeCertificate();
    const parameters = '-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n';
    const { createPrivateKey } = await import('node:crypto');
    const sec1 = createPrivateKey(ec.key).export({ type: 'sec1', format: 'pem' }).toString();
    expect((await check(ec.pem, parameters + sec1)).facts.keyAlgorithm).toBe('EC P-256');
  });

  it('good is warned about what may surprise', async () => {
    const { root, between, leaf } = await makeChain({ until: 10 });
    const codes = async (...made: readonly { pem: string }[]) =>
      (await check(made.map(({ pem }) => pem).join(''), leaf.key)).warnings.map(({ code }) => code);
    expect(await codes(leaf, between, root)).toEqual(['root_included', 'expires_soon']);
    expect(await codes(leaf)).toEqual(['chain_short', 'expires_soon']);
    const own = await makeCertificate();
    expect((await check(own.pem, own.key)).warnings.map(({ code }) => code)).toEqual(['self_signed']);
  });
});

import { execFile } from 'node:child_process';
import { generateKeyPairSync, type KeyObject, webcrypto } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import { testEnvoy } from '#platform/envoy/envoy.fixture.js';
import { DomainError } from '#platform/kernel/errors.js';

import { makeCertificate, makeKeys } from './certificate.fixture.js';
import { readPrivateKey } from './private-key.js';

let envoy: string;
let folder: string;
beforeAll(async () => {
  envoy = await testEnvoy();
  folder = mkdtempSync(join(tmpdir(), 'chancery-envoy-keys-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const rsa = (modulusLength: number) => ({
  name: 'RSASSA-PKCS1-v1_5',
  modulusLength,
  publicExponent: new Uint8Array([1, 0, 1]),
  hash: 'SHA-256',
});
const ec = (namedCurve: string) => ({ name: 'ECDSA', namedCurve, hash: 'SHA-256' });
const pem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString();

/** What the real Envoy says of a listener with this pair. */
function validate(chain: string, key: string): Promise<'taken' | 'refused'> {
  const pair = { certificate_chain: { inline_string: chain }, private_key: { inline_string: key } };
  const tls = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext';
  const file = join(folder, 'envoy.json');
  const chainOfFilters = {
    transport_socket: { name: 'tls', typed_config: { '@type': tls, common_tls_context: { tls_certificates: [pair] } } },
    filters: [
      {
        name: 'envoy.filters.network.direct_response',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config',
          response: { inline_string: 'x' },
        },
      },
    ],
  };
  const listener = { name: 'l', address: { socket_address: { address: '127.0.0.1', port_value: 1 } }, filter_chains: [chainOfFilters] };
  writeFileSync(file, JSON.stringify({ static_resources: { listeners: [listener] } }), { mode: 0o600 });
  return new Promise((resolve) => {
    execFile(envoy, ['--mode', 'validate', '-c', file, '--log-level', 'off'], (error) => resolve(error === null ? 'taken' : 'refused'));
  });
}

describe('the real Envoy', () => {
  it.each([
    ['EC P-256', ec('P-256')],
    ['EC P-384', ec('P-384')],
    ['EC P-521', ec('P-521')],
    ['RSA 2048', rsa(2048)],
    ['RSA 4096', rsa(4096)],
  ])('takes what is taken here: %s', async (_name, algorithm) => {
    const { pem: chain, key } = await makeCertificate({ algorithm });
    expect(readPrivateKey(key).type).toBe('private');
    expect(await validate(chain, key)).toBe('taken');
  });

  it('refuses RSA below 2048 bits, which is refused here', async () => {
    const { pem: chain, key } = await makeCertificate({ algorithm: rsa(1024) });
    expect(() => readPrivateKey(key)).toThrow(DomainError);
    expect(await validate(chain, key)).toBe('refused');
  });

  it.each([
    ['RSA-PSS', () => generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).privateKey],
    ['P-224', () => generateKeyPairSync('ec', { namedCurve: 'P-224' }).privateKey],
    ['secp256k1', () => generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey],
    ['Ed448', () => generateKeyPairSync('ed448').privateKey],
    ['DSA', () => generateKeyPairSync('dsa', { modulusLength: 2048, divisorLength: 256 }).privateKey],
  ])('does not serve with a key of %s, which is refused here', async (_name, make) => {
    const key = pem(make());
    expect(() => readPrivateKey(key)).toThrow(DomainError);
    expect(await validate((await makeCertificate({ keys: (await makeKeys()) as webcrypto.CryptoKeyPair })).pem, key)).toBe('refused');
  });
});

import { describe, expect, test } from '@jest/globals';
import type { V1Secret } from '@kubernetes/client-node';

import { Secret } from '#platform/vault/secret.js';

import { readTlsSecret, secretName, secretOf } from './kubernetes-secret.js';

const encode = (text: string) => Buffer.from(text).toString('base64');
const secret = (more: Partial<V1Secret> = {}, labels: Record<string, string> = { 'chancery.io/gateway': 'default' }): V1Secret => ({
  metadata: { name: 'edge', namespace: 'certs', labels },
  type: 'kubernetes.io/tls',
  data: { 'tls.crt': encode('chain'), 'tls.key': encode('key') },
  ...more,
});

describe('a Secret as a certificate', () => {
  test('is for the gateway of its label, under its own name or that of its other label', () => {
    expect(readTlsSecret(secret())).toMatchObject({ gateway: 'default', certificate: 'edge', pair: { certificateChain: 'chain' } });
    const named = readTlsSecret(secret({}, { 'chancery.io/gateway': 'default', 'chancery.io/certificate': 'www' }));
    expect(named).toMatchObject({ certificate: 'www' });
  });

  test.each([
    ['another type', { type: 'Opaque' }, /its type is Opaque/],
    ['no key', { data: { 'tls.crt': encode('chain') } }, /no tls\.key/],
    ['no chain', { data: { 'tls.key': encode('key') } }, /no tls\.crt/],
    ['nothing', {}, /no tls\.crt/],
  ])('is none with %s', (_what, more, problem) => {
    expect(readTlsSecret({ ...secret(), data: {}, ...more })).toMatchObject({ problem: expect.stringMatching(problem) });
  });

  test('is not looked at without the label, or when it is a copy of ours', () => {
    expect(readTlsSecret(secret({}, {}))).toBeUndefined();
    const pair = { certificateChain: 'chain', privateKey: new Secret('key') };
    const copy = secretOf({ gateway: 'default', name: 'Edge_1' }, pair, { namespace: 'certs', fingerprint: 'f' });
    expect(readTlsSecret(copy)).toBeUndefined();
    expect(copy.data).toEqual({ 'tls.crt': encode('chain'), 'tls.key': encode('key') });
  });

  test('copies of different certificates have different names, all of them names of Secrets', () => {
    const names = ['edge', 'Edge', 'edge.1', 'edge-1', 'edge_1', 'x'.repeat(64)].map((name) => secretName({ gateway: 'default', name }));
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/);
  });
});

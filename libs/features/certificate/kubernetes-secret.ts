import type { V1Secret } from '@kubernetes/client-node';

import { Secret } from '#platform/vault/secret.js';

import type { KeyPairInput } from './check-certificate.js';

/** Which gateway a Secret's certificate is for. */
export const GATEWAY_LABEL = 'chancery.io/gateway';
/** Under which name; without it, the Secret's own. */
export const CERTIFICATE_LABEL = 'chancery.io/certificate';
/** On Secrets that Chancery wrote itself: they are copies, and never read back. */
export const COPY_LABEL = 'chancery.io/copy';

/** A Secret as a certificate: whose it is, and what it holds, or why that is none. */
export type SecretReading = { readonly gateway: string; readonly certificate: string } & (
  | { readonly pair: KeyPairInput }
  | { readonly problem: string }
);

/** Undefined: this Secret is none of ours to read. */
export function readTlsSecret(secret: V1Secret): SecretReading | undefined {
  const { labels = {}, name = '' } = secret.metadata ?? {};
  const gateway = labels[GATEWAY_LABEL];
  if (gateway === undefined || labels[COPY_LABEL] !== undefined) return undefined;
  const whose = { gateway, certificate: labels[CERTIFICATE_LABEL] ?? name };
  if (secret.type !== 'kubernetes.io/tls') return { ...whose, problem: `its type is ${secret.type}, not kubernetes.io/tls` };
  const [chain, key] = ['tls.crt', 'tls.key'].map((part) => Buffer.from(secret.data?.[part] ?? '', 'base64').toString('utf8'));
  if (!chain || !key) return { ...whose, problem: `it has no ${chain ? 'tls.key' : 'tls.crt'}` };
  return { ...whose, pair: { certificateChain: chain, privateKey: new Secret(key) } };
}

/** A certificate of a gateway as a Secret, a copy for others to read. Names of certificates may have what names of Secrets may not. */
export function secretOf(
  { gateway, name }: { readonly gateway: string; readonly name: string },
  pair: KeyPairInput,
  { namespace, fingerprint }: { readonly namespace: string; readonly fingerprint: string },
): V1Secret {
  const encode = (text: string) => Buffer.from(text).toString('base64');
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: secretName({ gateway, name }),
      namespace,
      labels: { 'app.kubernetes.io/managed-by': 'chancery', [COPY_LABEL]: 'true', [GATEWAY_LABEL]: gateway, [CERTIFICATE_LABEL]: name },
      annotations: { 'chancery.io/chain-fingerprint': fingerprint },
    },
    type: 'kubernetes.io/tls',
    data: { 'tls.crt': encode(pair.certificateChain), 'tls.key': encode(pair.privateKey.reveal()) },
  };
}

/** The name of a copy: different certificates have different ones. */
export function secretName({ gateway, name }: { readonly gateway: string; readonly name: string }): string {
  if (/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(name)) return `${gateway}.${name}`;
  return `${gateway}.x-${Buffer.from(name).toString('hex')}`;
}

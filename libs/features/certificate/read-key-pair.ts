import { canonicalJson } from '#platform/kernel/json.js';
import { Secret } from '#platform/vault/secret.js';
import type { SecretOwner, SecretRef, Vault } from '#platform/vault/vault.js';

import type { CertificateState } from './certificate.js';

/** A chain and its key as Envoy takes them, both PEM. */
export interface KeyPair {
  readonly certificateChain: string;
  readonly privateKey: Secret<string>;
}

/** Keeps a pair. The chain stands in the clear beside it as well: everybody may have it. @throws DomainError as `Vault.put`. */
export function keepKeyPair(vault: Vault, owner: SecretOwner, { certificateChain, privateKey }: KeyPair): Promise<SecretRef> {
  return vault.put(owner, new Secret(canonicalJson({ certificateChain, privateKey: privateKey.reveal() })), certificateChain);
}

/** The pair of a certificate: what a gateway serves with. @throws DomainError unavailable, as `Vault.open`. */
export async function readKeyPair(
  vault: Vault,
  gateway: string,
  { name, secret }: Pick<CertificateState, 'name' | 'secret'>,
): Promise<KeyPair> {
  const kept = await vault.open({ gateway, name }, secret);
  const { certificateChain, privateKey } = JSON.parse(kept.reveal()) as { certificateChain: string; privateKey: string };
  return { certificateChain, privateKey: new Secret(privateKey) };
}

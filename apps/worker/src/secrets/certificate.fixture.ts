import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { keepKeyPair } from '#features/certificate/read-key-pair.js';
import type { TestAuthority, TestCertificate } from '#platform/envoy/certificates.fixture.js';
import { KeyFile } from '#platform/vault/key-file.js';
import { Secret } from '#platform/vault/secret.js';
import { Vault } from '#platform/vault/vault.js';

import type { WorkerFixture } from '../worker.fixture.js';

/** A key file of a test's own, in a folder that the test removes. */
export function makeKeyFile(): { readonly folder: string; readonly path: string } {
  const folder = mkdtempSync(join(tmpdir(), 'chancery-keys-'));
  const path = join(folder, 'keys.json');
  writeFileSync(path, JSON.stringify({ writes: 'k1', keys: { k1: Buffer.alloc(32, 7).toString('base64') } }), { mode: 0o600 });
  return { folder, path };
}

export interface PutWorld {
  readonly fixture: WorkerFixture;
  readonly authority: TestAuthority;
  readonly keyPath: string;
}

/** Sets a certificate as the API does it: the secret first, then the event. */
export async function putCertificate(
  { fixture, authority, keyPath }: PutWorld,
  { name, dns, made }: { readonly name: string; readonly dns: readonly string[]; readonly made?: TestCertificate | undefined },
): Promise<{ certificate: TestCertificate; version: number }> {
  const certificate = made ?? (await authority.issue(dns));
  const vault = new Vault(fixture.database.db, new KeyFile(keyPath));
  const pair = { certificateChain: certificate.chain, privateKey: new Secret(certificate.key) };
  const secret = await keepKeyPair(vault, { gateway: 'default', name }, pair);
  const state = { name, fingerprint: certificate.fingerprint, sans: { dns, ip: [] }, secret };
  return { certificate, version: await fixture.append(`certificate/${name}`, 'CertRotated', state) };
}

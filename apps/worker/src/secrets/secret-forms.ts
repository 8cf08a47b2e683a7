import { clientFilter, clientFilterConfig, principalsOf } from '#features/gateway/client-check.envoy.js';
import type { ClientCertificates } from '#features/gateway/tls-policy.js';
import { toResource } from '#features/layout/upstream-resources.js';
import { readDeliveredHash, writeDeliveredHash } from '#features/rollout/delivered-secret.table.js';
import type { SecretFile } from '#features/rollout/placed-secrets.js';
import { watchedFile } from '#features/rollout/watched-file.js';
import type { Db } from '#platform/database/database.js';
import type { CertificateSecret, Secret } from '#platform/envoy/model/tls.js';
import { secretMessage } from '#platform/envoy/wire/tls-messages.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import { SECRET_TYPE, type XdsResource } from '#platform/xds/xds-resource.js';

/** A secret as Envoys get it: over the stream of a live delivery, or as a file that they watch. Both without bytes for one that only nodes have. */
export interface SecretForms {
  readonly resource: XdsResource;
  readonly file: SecretFile;
  /** Of a certificate: its chain and key as PEM, for an Envoy that reads them once. */
  readonly standing: SecretFile | undefined;
}

export function formsOf(model: Secret): SecretForms {
  return {
    resource: toResource({ typeUrl: SECRET_TYPE, name: model.name }, secretMessage, model),
    file: fileOf(watchedFile([model])),
    standing: 'tls_certificate' in model ? fileOf(pemOf(model)) : undefined,
  };
}

function pemOf({ tls_certificate: { certificate_chain, private_key } }: CertificateSecret): Buffer {
  return Buffer.from([certificate_chain, private_key].map(({ inline_string }) => `${inline_string.trimEnd()}\n`).join(''));
}

function fileOf(json: Buffer): SecretFile {
  return { json, sha256: sha256Hex(json) };
}

/** Notes what nodes are given, so that it is known when it cannot be made any more. */
export async function noteForms(db: Db, id: string, { resource, file, standing }: SecretForms): Promise<void> {
  const hashes = [resource.version, file.sha256, ...(standing === undefined ? [] : [standing.sha256])];
  await writeDeliveredHash(db, `${id} ${resource.name}`, hashes.join(' '));
}

/** What nodes may have of a secret that cannot be opened; undefined when it was never given to any. */
export async function heldForms(db: Db, id: string, name: string): Promise<SecretForms | undefined> {
  const [version, sha256, standing] = (await readDeliveredHash(db, `${id} ${name}`))?.split(' ') ?? [];
  if (version === undefined || sha256 === undefined) return undefined;
  const json = Buffer.alloc(0);
  return {
    resource: { typeUrl: SECRET_TYPE, name, version, value: json, needs: [] },
    file: { json, sha256 },
    standing: standing === undefined ? undefined : { json, sha256: standing },
  };
}

/** What requests are held against where nothing else than files comes to Envoy (in live delivery the filter of the table does it). */
export function clientChecks(
  clients: ClientCertificates | null,
  fingerprints: Iterable<string>,
): readonly (readonly [string, SecretFile])[] {
  const principals = principalsOf(clients, fingerprints);
  if (clients === null || principals === null) return [];
  const json = watchedFile([
    { '@type': 'type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig', ...clientFilterConfig(clients.hosts, principals) },
  ]);
  return [[clientFilter, fileOf(json)]];
}

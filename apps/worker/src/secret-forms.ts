import { toResource } from '#features/layout/upstream-resources.js';
import type { SecretFile } from '#features/rollout/compile.js';
import { readDeliveredHash, writeDeliveredHash } from '#features/rollout/delivered-secret.table.js';
import { watchedFile } from '#features/rollout/watched-file.js';
import type { Db } from '#platform/database/database.js';
import type { Secret } from '#platform/envoy/model/tls.js';
import { secretMessage } from '#platform/envoy/wire/tls-messages.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import { SECRET_TYPE, type XdsResource } from '#platform/xds/xds-resource.js';

/** A secret as Envoys get it: over the stream of a live delivery, or as a file that they watch. Both without bytes for one that only nodes have. */
export interface SecretForms {
  readonly resource: XdsResource;
  readonly file: SecretFile;
}

export function formsOf(model: Secret): SecretForms {
  const json = watchedFile([model]);
  return {
    resource: toResource({ typeUrl: SECRET_TYPE, name: model.name }, secretMessage, model),
    file: { json, sha256: sha256Hex(json) },
  };
}

/** Notes what nodes are given, so that it is known when it cannot be made any more. */
export async function noteForms(db: Db, id: string, { resource, file }: SecretForms): Promise<void> {
  await writeDeliveredHash(db, `${id} ${resource.name}`, `${resource.version} ${file.sha256}`);
}

/** What nodes may have of a secret that cannot be opened; undefined when it was never given to any. */
export async function heldForms(db: Db, id: string, name: string): Promise<SecretForms | undefined> {
  const [version, sha256] = (await readDeliveredHash(db, `${id} ${name}`))?.split(' ') ?? [];
  if (version === undefined || sha256 === undefined) return undefined;
  const nothing = Buffer.alloc(0);
  return { resource: { typeUrl: SECRET_TYPE, name, version, value: nothing, needs: [] }, file: { json: nothing, sha256 } };
}

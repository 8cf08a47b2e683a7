import type { Release } from '#platform/envoy/release-store.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import type { Manifest } from '#platform/xds/generated/delivery.js';
import { BOOTSTRAP_NAME, BOOTSTRAP_TYPE, type DeliveredResource, ENDPOINTS_TYPE } from '#platform/xds/resource.js';

/** A manifest that cannot become a release; the worker is told why. */
export class IncompleteReleaseError extends Error {
  override readonly name = 'IncompleteReleaseError';
}

/** A cluster's name is also its file's name. */
const CLUSTER_NAME = /^[A-Za-z0-9_][A-Za-z0-9._:-]{0,199}$/;

/** Holds the files that came over the stream and puts a release together when its manifest comes. */
export class ReleaseAssembly {
  #bootstrap: { readonly json: Buffer; readonly sha256: string } | null = null;
  readonly #endpoints = new Map<string, { readonly json: Buffer; readonly sha256: string }>();

  /** Begins with what an earlier connection delivered, so that the worker need not send it again. */
  constructor(held: Release | null) {
    if (held === null) return;
    this.#bootstrap = { json: held.bootstrap, sha256: sha256Hex(held.bootstrap) };
    for (const [cluster, json] of held.endpoints) this.#endpoints.set(cluster, { json, sha256: sha256Hex(json) });
  }

  /** By type URL and name: the version (content hash) of each file that is held. */
  versions(): ReadonlyMap<string, ReadonlyMap<string, string>> {
    return new Map([
      [BOOTSTRAP_TYPE, new Map(this.#bootstrap === null ? [] : [[BOOTSTRAP_NAME, this.#bootstrap.sha256]])],
      [ENDPOINTS_TYPE, new Map([...this.#endpoints].map(([name, { sha256 }]) => [name, sha256]))],
    ]);
  }

  /** Takes files in; a manifest among the resources is left to `assemble`, and a live release is not made of files. */
  take(resources: readonly DeliveredResource[], removed: { readonly typeUrl: string; readonly names: readonly string[] }): void {
    for (const resource of resources) {
      if (resource.kind === 'manifest' || resource.kind === 'live') continue;
      const file = { json: resource.json, sha256: sha256Hex(resource.json) };
      if (resource.kind === 'bootstrap') this.#bootstrap = file;
      else this.#endpoints.set(resource.name, file);
    }
    if (removed.typeUrl === ENDPOINTS_TYPE) for (const name of removed.names) this.#endpoints.delete(name);
  }

  /**
   * The release that this manifest names.
   * @throws IncompleteReleaseError when a file is missing, differs from its hash, or has a name that no file may have.
   */
  assemble(manifest: Manifest): Release {
    let bootstrap: Buffer | null = null;
    const endpoints = new Map<string, Buffer>();
    for (const { typeUrl, name, sha256 } of manifest.items) {
      const file = typeUrl === BOOTSTRAP_TYPE ? this.#bootstrap : typeUrl === ENDPOINTS_TYPE ? this.#endpoints.get(name) : undefined;
      if (file === undefined || file === null)
        throw new IncompleteReleaseError(`the manifest names ${typeUrl} ${name}, which was not sent`);
      if (file.sha256 !== sha256)
        throw new IncompleteReleaseError(`${typeUrl} ${name} has SHA-256 ${file.sha256}, the manifest says ${sha256}`);
      if (typeUrl === BOOTSTRAP_TYPE) bootstrap = file.json;
      else if (!CLUSTER_NAME.test(name))
        throw new IncompleteReleaseError(`a cluster cannot be called ${JSON.stringify(name)}: its name is a file's name`);
      else endpoints.set(name, file.json);
    }
    if (bootstrap === null) throw new IncompleteReleaseError('the manifest names no bootstrap');
    return { manifest, bootstrap, endpoints };
  }
}

import type { Db } from '#platform/database/database.js';
import type { EventStore } from '#platform/eventstore/event-store.js';
import type { ApiAccess } from '#platform/kubernetes/api-connection.js';
import type { ReflectorTuning } from '#platform/kubernetes/reflector.js';
import type { Log } from '#platform/log/log.js';
import type { KeyFile } from '#platform/vault/key-file.js';
import { Vault } from '#platform/vault/vault.js';

import { SecretCopies } from './secret-copies.js';
import { SecretWatch } from './secret-watch.js';

/** Secrets of Kubernetes as certificates, and the other way round. */
export interface SecretScope {
  readonly access: ApiAccess;
  /** The namespace whose labelled Secrets are certificates; undefined: none. */
  readonly watch: string | undefined;
  /** The namespace in which certificates of the API are kept as Secrets as well; undefined: none. */
  readonly publish: string | undefined;
  readonly keyFile: KeyFile;
  readonly tuning?: Partial<ReflectorTuning>;
}

interface World {
  readonly db: Db;
  readonly events: EventStore;
  readonly log: Log;
}

/** What a worker does about Secrets. */
export class ClusterSecrets {
  readonly #watch: SecretWatch | undefined;
  readonly #copies: SecretCopies | undefined;

  /** Undefined: nothing is to be done. */
  static open(scope: SecretScope | undefined, world: World): ClusterSecrets | undefined {
    return scope === undefined ? undefined : new ClusterSecrets(scope, world);
  }

  private constructor({ access, watch, publish, keyFile, tuning }: SecretScope, world: World) {
    const vault = new Vault(world.db, keyFile);
    if (watch !== undefined) this.#watch = new SecretWatch({ ...world, access, namespace: watch, vault, tuning });
    if (publish !== undefined) this.#copies = new SecretCopies({ ...world, access, namespace: publish, vault });
  }

  start(): void {
    this.#watch?.start();
    this.#copies?.look();
  }

  /** A gateway is there that may not have been before. */
  gatewayLoaded(): void {
    this.#watch?.gatewayLoaded();
    this.#copies?.look();
  }

  /** Certificates are not what they were, or can be opened now. */
  certificatesChanged(): void {
    this.#copies?.look();
  }

  async close(): Promise<void> {
    await Promise.all([this.#watch?.stop(), this.#copies?.stop()]);
  }
}

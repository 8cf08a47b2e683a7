import { setTimeout as pause } from 'node:timers/promises';

import type { V1Secret } from '@kubernetes/client-node';

import type { CertificateState } from '#features/certificate/certificate.js';
import { COPY_LABEL, secretName, secretOf } from '#features/certificate/kubernetes-secret.js';
import { type KeyPair, readKeyPair } from '#features/certificate/read-key-pair.js';
import type { Db } from '#platform/database/database.js';
import { listStreams, listSubjects } from '#platform/eventstore/read-log.js';
import { DomainError } from '#platform/kernel/errors.js';
import { type ApiAccess, ApiConnection, ApiFault } from '#platform/kubernetes/api-connection.js';
import type { Log } from '#platform/log/log.js';
import type { Vault } from '#platform/vault/vault.js';

export interface SecretCopiesOptions {
  readonly access: ApiAccess;
  readonly namespace: string;
  readonly db: Db;
  readonly vault: Vault;
  readonly log: Log;
}

const GATEWAYS = 'gateway/';
const MOST_CERTIFICATES = 10_000;
const AGAIN_MS = 5_000;

/**
 * Keeps a copy of each certificate that was published through the API as a kubernetes.io/tls Secret, for whatever else in the cluster reads those.
 * The log and the vault stay the truth: copies are made from them, brought up to date, and removed, and never read back. Several workers do the same.
 */
export class SecretCopies {
  readonly #options: SecretCopiesOptions;
  readonly #connection: ApiConnection;
  readonly #ending = new AbortController();
  #isDue = false;
  #working: Promise<void> = Promise.resolve();
  #isWorking = false;

  constructor(options: SecretCopiesOptions) {
    this.#options = options;
    this.#connection = new ApiConnection(options.access);
  }

  /** Something may have changed: looks, now or after the look that is under way. */
  look(): void {
    this.#isDue = true;
    if (!this.#isWorking) this.#working = this.#work();
  }

  async stop(): Promise<void> {
    this.#ending.abort();
    await this.#working;
    this.#connection.close();
  }

  async #work(): Promise<void> {
    this.#isWorking = true;
    while (this.#isDue && !this.#ending.signal.aborted) {
      this.#isDue = false;
      let isWhole = false;
      try {
        isWhole = await this.#copy();
      } catch (err) {
        this.#options.log.warn({ err }, 'certificates could not be copied to Secrets; it is tried again');
      }
      if (!isWhole) {
        this.#isDue = true;
        await pause(AGAIN_MS, undefined, { signal: this.#ending.signal }).catch(() => undefined);
      }
    }
    this.#isWorking = false; // in the same turn as the last look: what is due after it begins anew
  }

  /** @returns whether every certificate has its copy now */
  async #copy(): Promise<boolean> {
    const { db, namespace } = this.#options;
    const path = `/api/v1/namespaces/${namespace}/secrets`;
    const { items } = await this.#connection.json<{ items: V1Secret[] }>({ path, query: { labelSelector: COPY_LABEL } });
    const there = new Map(items.map((secret) => [secret.metadata?.name ?? '', secret]));
    let isWhole = true;
    // The log knows all gateways; this process may still be reading them, and what it does not know of must not be taken for gone.
    for (const { stream } of await listStreams(db, `${GATEWAYS}%`)) {
      const gateway = stream.slice(GATEWAYS.length);
      const records = await listSubjects(db, { stream, kind: 'certificate', limit: MOST_CERTIFICATES });
      for (const { state } of records) {
        const certificate = state as CertificateState | null;
        if (certificate === null || certificate.source !== 'api') continue;
        const name = secretName({ gateway, name: certificate.name });
        const copy = there.get(name);
        there.delete(name);
        if (!(await this.#bring(path, gateway, certificate, copy))) isWhole = false;
      }
    }
    for (const name of there.keys()) await this.#connection.json({ method: 'DELETE', path: `${path}/${name}` }).catch(ignore(404));
    return isWhole;
  }

  /** @returns false when its key cannot be opened: the others are copied all the same. */
  async #bring(path: string, gateway: string, certificate: CertificateState, copy: V1Secret | undefined): Promise<boolean> {
    const { vault, namespace, log } = this.#options;
    const fingerprint = certificate.chainFingerprint;
    if (copy?.metadata?.annotations?.['chancery.io/chain-fingerprint'] === fingerprint) return true;
    let pair: KeyPair;
    try {
      pair = await readKeyPair(vault, gateway, certificate);
    } catch (error) {
      if (!(error instanceof DomainError)) throw error;
      log.warn(
        { gateway, certificate: certificate.name, code: error.code },
        'a certificate could not be copied to a Secret; it is tried again',
      );
      return false;
    }
    const secret = secretOf({ gateway, name: certificate.name }, pair, { namespace, fingerprint });
    if (copy === undefined) await this.#connection.json({ method: 'POST', path, body: secret }).catch(ignore(409));
    else await this.#connection.json({ method: 'PATCH', path: `${path}/${secret.metadata?.name}`, body: secret });
    return true;
  }
}

/** Another worker was first. */
function ignore(status: number) {
  return (error: unknown) => {
    if (!(error instanceof ApiFault) || error.status !== status) throw error;
  };
}

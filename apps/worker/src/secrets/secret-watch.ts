import { setTimeout as pause } from 'node:timers/promises';

import type { V1Secret } from '@kubernetes/client-node';

import { checkCertificateName } from '#features/certificate/certificate-input.js';
import { GATEWAY_LABEL, readTlsSecret, type SecretReading } from '#features/certificate/kubernetes-secret.js';
import {
  forgetSecret,
  forgetSecretsBut,
  isSecretSeen,
  NO_GATEWAY,
  type SecretSeen,
  writeSecretSeen,
} from '#features/certificate/kubernetes-secret.table.js';
import { rotateKeyPair } from '#features/certificate/rotate-key-pair.js';
import type { Db } from '#platform/database/database.js';
import type { EventStore } from '#platform/eventstore/event-store.js';
import { derivedUuid } from '#platform/kernel/digest.js';
import { DomainError } from '#platform/kernel/errors.js';
import { type ApiAccess, ApiConnection } from '#platform/kubernetes/api-connection.js';
import { Reflector, type ReflectorTuning } from '#platform/kubernetes/reflector.js';
import type { Log } from '#platform/log/log.js';
import type { Vault } from '#platform/vault/vault.js';

export interface SecretWatchOptions {
  readonly access: ApiAccess;
  /** A namespace of its own: RBAC cannot tell one Secret from another. */
  readonly namespace: string;
  readonly db: Db;
  readonly events: EventStore;
  readonly vault: Vault;
  readonly log: Log;
  readonly tuning?: Partial<ReflectorTuning> | undefined;
}

/** Who the log says it was. */
const ACTOR = 'kubernetes';
const AGAIN_MS = 2_000;

/**
 * Records what happens to the labelled kubernetes.io/tls Secrets of a namespace: a Secret that is made or changed sets the certificate of its name. One that is
 * deleted leaves the certificate, because a gateway that serves on is better than one that does not; whoever means it deletes the certificate.
 * Every worker does this; the same state of a Secret is the same command, which is recorded once.
 */
export class SecretWatch {
  readonly #options: SecretWatchOptions;
  readonly #connection: ApiConnection;
  readonly #reflector: Reflector<V1Secret>;
  readonly #ending = new AbortController();
  readonly #waiting = new Set<string>();
  /** Those that came before their gateway. */
  readonly #early = new Set<string>();
  #working: Promise<void> = Promise.resolve();
  #isWorking = false;

  constructor(options: SecretWatchOptions) {
    const { log, namespace, tuning } = options;
    this.#options = options;
    this.#connection = new ApiConnection(options.access);
    this.#reflector = new Reflector<V1Secret>({
      connection: this.#connection,
      path: `/api/v1/namespaces/${namespace}/secrets`,
      labelSelector: GATEWAY_LABEL,
      ...(tuning === undefined ? {} : { tuning }),
      onChange: (keys) => this.#take(keys),
      onError: (error) => {
        if (error !== '') log.warn({ error, namespace }, 'Secrets cannot be watched; certificates stay as they are');
      },
    });
  }

  start(): void {
    this.#reflector.start();
    void this.#reflector.firstList.then(() => this.#forgetGone());
  }

  /** There is a gateway that may not have been there before. */
  gatewayLoaded(): void {
    if (this.#early.size === 0) return;
    const keys = new Set(this.#early);
    this.#early.clear();
    this.#take(keys);
  }

  async stop(): Promise<void> {
    this.#ending.abort();
    await this.#reflector.stop();
    await this.#working;
    this.#connection.close();
  }

  #take(keys: ReadonlySet<string>): void {
    for (const key of keys) this.#waiting.add(key);
    if (!this.#isWorking) this.#working = this.#work();
  }

  async #work(): Promise<void> {
    const { log } = this.#options;
    this.#isWorking = true;
    for (;;) {
      const [key] = this.#waiting;
      if (key === undefined || this.#ending.signal.aborted) {
        this.#isWorking = false; // in the same turn as the look: what comes after it begins anew
        return;
      }
      this.#waiting.delete(key);
      try {
        await this.#settle(key, this.#reflector.objects.get(key));
      } catch (err) {
        log.warn({ err, secret: key }, 'a Secret could not be recorded; it is tried again');
        this.#waiting.add(key);
        await pause(AGAIN_MS, undefined, { signal: this.#ending.signal }).catch(() => undefined);
      }
    }
  }

  async #settle(key: string, secret: V1Secret | undefined): Promise<void> {
    const { db, log } = this.#options;
    const [namespace = '', name = ''] = key.split('/');
    const reading = secret === undefined ? undefined : readTlsSecret(secret);
    if (secret === undefined || reading === undefined) return forgetSecret(db, { namespace, name });
    const { uid = '', resourceVersion = '' } = secret.metadata ?? {};
    const seen = { namespace, name, uid, resourceVersion };
    if (await isSecretSeen(db, seen)) return;
    const problem = await this.#record(reading, seen);
    if (problem.startsWith(`${NO_GATEWAY}:`)) this.#early.add(key);
    await writeSecretSeen(db, seen, { gateway: reading.gateway, certificate: reading.certificate, problem });
    if (problem !== '') log.warn({ secret: key, gateway: reading.gateway, problem }, 'a Secret is not taken for a certificate');
  }

  /** Of those that were deleted while no worker watched nobody tells. */
  async #forgetGone(): Promise<void> {
    const { db, log, namespace } = this.#options;
    try {
      const names = [...this.#reflector.objects.values()].map(({ metadata }) => metadata?.name ?? '');
      await forgetSecretsBut(db, namespace, names);
    } catch (err) {
      log.warn({ err, namespace }, 'Secrets that are gone could not be forgotten; the next start does it');
    }
  }

  /** '' when it is recorded, otherwise why it cannot be. @throws what may be another time */
  async #record(reading: SecretReading, seen: SecretSeen): Promise<string> {
    if ('problem' in reading) return reading.problem;
    const { gateway, certificate, pair } = reading;
    const { namespace, name, uid, resourceVersion } = seen;
    const commandId = derivedUuid(`${gateway} ${certificate} ${uid} ${resourceVersion}`);
    const reason = `Secret ${namespace}/${name}, resource version ${resourceVersion}`;
    try {
      checkCertificateName(certificate);
      const request = { context: { commandId, actor: ACTOR, reason }, dryRun: false };
      await rotateKeyPair(this.#options, { gateway, name: certificate }, { ...pair, source: 'kubernetes' }, request);
      return '';
    } catch (error) {
      if (error instanceof DomainError && error.kind !== 'unavailable') return `${error.code}: ${error.message}`;
      throw error;
    }
  }
}

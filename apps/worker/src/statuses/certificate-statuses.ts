import { type CertificateStatusRow, replaceCertificateStatus } from '#features/rollout/certificate-status.table.js';
import type { Db } from '#platform/database/database.js';
import type { Log } from '#platform/log/log.js';

import type { GatewayFold } from '../fold/gateway-fold.js';
import type { SecretSource } from '../secrets/lane-secrets.js';

export interface CertificateStatusesOptions {
  readonly db: Db;
  readonly log: Log;
  readonly secrets: SecretSource;
  fold(gateway: string): GatewayFold | undefined;
}

/** The rows that say of certificates why Envoys do not get them. Behind the pushes and never in their way; a write that fails is made again by the sweep. */
export class CertificateStatuses {
  readonly #options: CertificateStatusesOptions;
  readonly #written = new Map<string, string>();
  #writing: Promise<void> = Promise.resolve();

  constructor(options: CertificateStatusesOptions) {
    this.#options = options;
  }

  /** Writes what is to be said of a gateway's certificates, if that is another thing than before. */
  touch(gateway: string): void {
    this.#writing = this.#writing.then(() => this.#write(gateway));
  }

  /** Resolves when everything that was asked for is written, or failed. */
  settled(): Promise<void> {
    return this.#writing;
  }

  async #write(gateway: string): Promise<void> {
    const { db, log, secrets, fold } = this.#options;
    const rows: CertificateStatusRow[] = [];
    for (const certificate of fold(gateway)?.certificates.values() ?? []) {
      const opening = secrets.certificate(gateway, certificate);
      if (opening.state === 'waiting') return; // told when it is known
      const { name, fingerprint } = certificate;
      if (opening.state === 'closed') rows.push({ certificate: name, fingerprint, code: opening.code, reason: opening.reason });
    }
    const text = JSON.stringify(rows);
    if (this.#written.get(gateway) === text) return;
    try {
      await replaceCertificateStatus(db, gateway, rows);
      this.#written.set(gateway, text);
    } catch (err) {
      log.warn({ err, gateway }, 'the statuses of certificates could not be written; the next sweep writes them');
    }
  }
}

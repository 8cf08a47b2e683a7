import { readKeyPair } from '#features/certificate/read-key-pair.js';
import type { Db } from '#platform/database/database.js';
import type { Log } from '#platform/log/log.js';
import { KeyFile } from '#platform/vault/key-file.js';
import { Vault } from '#platform/vault/vault.js';
import type { FoldedCertificate } from '../fold/folded-certificate.js';
import type { FoldChange, GatewayFold } from '../fold/gateway-fold.js';
import { CertificateStatuses } from '../statuses/certificate-statuses.js';
import type { Tuning } from '../worker-options.js';
import type { SecretSource } from './lane-secrets.js';
import { type OpenedCertificate, OpenedSecrets, type Opening } from './opened-secrets.js';
import type { SecretForms } from './secret-forms.js';
import { TicketKeys } from './ticket-keys.js';

export interface SecretsOptions {
  readonly db: Db;
  readonly log: Log;
  readonly keys: KeyFile | undefined;
  fold(gateway: string): GatewayFold | undefined;
  readonly tuning: Pick<Tuning, 'ticketKeyMs' | 'ticketLookMs'>;
  /** What is known of secrets of this gateway is not what it was. */
  onChange(gateway: string): void;
}

/** Every secret that this worker brings to Envoys: opened from the vault, held in memory. */
export class Secrets implements SecretSource {
  readonly #opened: OpenedSecrets;
  readonly #tickets: TicketKeys;
  readonly #statuses: CertificateStatuses;

  constructor({ db, log, keys, tuning, fold, onChange: changed }: SecretsOptions) {
    const onChange = (gateway: string) => {
      changed(gateway);
      this.#statuses.touch(gateway);
    };
    this.#statuses = new CertificateStatuses({ db, log, secrets: this, fold });
    const vault = new Vault(db, keys ?? new KeyFile(undefined));
    this.#opened = new OpenedSecrets({ db, log, onChange, read: (...certificate) => read(vault, ...certificate) });
    this.#tickets = new TicketKeys({ db, vault, log, everyMs: tuning.ticketKeyMs, lookMs: tuning.ticketLookMs, onChange });
  }

  /** Versions of a gateway were read: what is said of its certificates may not be true any more. */
  applied(gateway: string, { certificates }: FoldChange): void {
    if (certificates.size > 0) this.#statuses.touch(gateway);
  }

  certificate(gateway: string, certificate: FoldedCertificate): Opening {
    return this.#opened.of(gateway, certificate);
  }

  tickets(gateway: string): SecretForms | null | 'waiting' {
    return this.#tickets.of(gateway);
  }

  refuse(gateway: string, certificate: FoldedCertificate, reason: string): void {
    this.#opened.refuse(gateway, certificate, reason);
  }

  /** Called by the sweep: what could not be written of certificates is written now. */
  keep(gateway: string, ids: ReadonlySet<string>): void {
    this.#opened.keep(gateway, ids);
    this.#statuses.touch(gateway);
  }

  async close(): Promise<void> {
    this.#opened.close();
    this.#tickets.close();
    await this.#statuses.settled();
  }
}

async function read(vault: Vault, gateway: string, certificate: FoldedCertificate): Promise<OpenedCertificate> {
  const { certificateChain, privateKey } = await readKeyPair(vault, gateway, certificate);
  return { chain: certificateChain, key: privateKey.reveal() };
}

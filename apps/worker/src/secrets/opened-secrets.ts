import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';

import { certificateSecret, certificateSecretName } from '#features/gateway/tls-secrets.envoy.js';
import type { Db } from '#platform/database/database.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';

import type { FoldedCertificate } from '../fold/folded-certificate.js';
import { formsOf, heldForms, noteForms, type SecretForms } from './secret-forms.js';

/** A certificate with its key, both PEM. */
export interface OpenedCertificate {
  readonly chain: string;
  readonly key: string;
}

/**
 * What is known of a certificate's secret. `closed`: it cannot be opened, or Envoy refuses it; a node that has it may keep it where its hash is known.
 */
export type Opening =
  | { readonly state: 'waiting' }
  | { readonly state: 'open'; readonly forms: SecretForms }
  | { readonly state: 'closed'; readonly code: string; readonly reason: string; readonly held: SecretForms | undefined };

export interface OpenedSecretsOptions {
  readonly db: Db;
  readonly log: Log;
  /** Reads a certificate and its key. @throws DomainError when that cannot be done with what there is (no key to open it, no such secret). */
  read(gateway: string, certificate: FoldedCertificate): Promise<OpenedCertificate>;
  /** What is known of secrets of this gateway is not what it was. */
  onChange(gateway: string): void;
}

const WAITING: Opening = { state: 'waiting' };
/** Before a secret that the database did not give is asked for again. Milliseconds. */
const AGAIN_MS = 1_000;
/** Before one that cannot be opened is tried again: somebody may have brought the key. Milliseconds. */
const CLOSED_MS = 5_000;

/** The secrets of certificates as this process has them: in memory alone, and only to be pushed. */
export class OpenedSecrets {
  readonly #options: OpenedSecretsOptions;
  /** By the id of the secret. */
  readonly #openings = new Map<string, { gateway: string; opening: Opening }>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #closed = false;

  constructor(options: OpenedSecretsOptions) {
    this.#options = options;
  }

  /** What is known of it now; when that is nothing, it begins to be opened. */
  of(gateway: string, certificate: FoldedCertificate): Opening {
    const known = this.#openings.get(certificate.secret.id);
    if (known !== undefined) return known.opening;
    this.#openings.set(certificate.secret.id, { gateway, opening: WAITING });
    void this.#open(gateway, certificate);
    return WAITING;
  }

  /** Envoy refuses what this secret holds: it is not given to another one. */
  refuse(gateway: string, { secret }: FoldedCertificate, reason: string): void {
    if (this.#openings.get(secret.id)?.opening.state !== 'open') return;
    this.#settle(gateway, secret.id, { state: 'closed', code: 'envoy_refused', reason, held: undefined });
  }

  /** Forgets what nobody uses any more. */
  keep(gateway: string, ids: ReadonlySet<string>): void {
    for (const [id, one] of this.#openings) if (one.gateway === gateway && !ids.has(id)) this.#openings.delete(id);
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#openings.clear();
  }

  async #open(gateway: string, certificate: FoldedCertificate): Promise<void> {
    const { db, log, read } = this.#options;
    const { name, secret } = certificate;
    try {
      const opened = await read(gateway, certificate);
      const fault = faultOf(opened, certificate);
      if (fault !== undefined) throw new DomainError('unavailable', 'secret_broken', fault);
      const forms = formsOf(certificateSecret(name, opened));
      // Before it is pushed: a worker that cannot open it must know what nodes may have.
      await noteForms(db, secret.id, forms);
      this.#settle(gateway, secret.id, { state: 'open', forms });
    } catch (error) {
      if (this.#closed) return;
      if (!(error instanceof DomainError)) {
        log.warn({ err: error, gateway, certificate: name }, 'a certificate could not be read; it is tried again');
        this.#later(AGAIN_MS, gateway, certificate);
        return;
      }
      await this.#shut(gateway, certificate, error);
    }
  }

  async #shut(gateway: string, certificate: FoldedCertificate, { code, message: reason }: DomainError): Promise<void> {
    const { db, log } = this.#options;
    try {
      const held = await heldForms(db, certificate.secret.id, certificateSecretName(certificate.name));
      const before = this.#openings.get(certificate.secret.id)?.opening;
      if (before?.state !== 'closed') {
        log.error({ gateway, certificate: certificate.name, code, reason }, 'a certificate cannot be opened; nodes that have it keep it');
        this.#settle(gateway, certificate.secret.id, { state: 'closed', code, reason, held });
      }
      this.#later(CLOSED_MS, gateway, certificate);
    } catch {
      this.#later(AGAIN_MS, gateway, certificate); // the database is not there: told when it was read first
    }
  }

  #settle(gateway: string, id: string, opening: Opening): void {
    if (this.#closed || !this.#openings.has(id)) return;
    this.#openings.set(id, { gateway, opening });
    this.#options.onChange(gateway);
  }

  #later(ms: number, gateway: string, certificate: FoldedCertificate): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      const known = this.#openings.get(certificate.secret.id)?.opening;
      if (known !== undefined && known.state !== 'open') void this.#open(gateway, certificate);
    }, ms);
    this.#timers.add(timer);
  }
}

/** Why Envoy must not be given this, or undefined: it would serve nobody with its listener until the next one comes. */
function faultOf({ chain, key }: OpenedCertificate, { fingerprint }: FoldedCertificate): string | undefined {
  try {
    const leaf = new X509Certificate(chain);
    if (createHash('sha256').update(leaf.raw).digest('hex') !== fingerprint)
      return 'The secret holds another certificate than the log says.';
    if (!leaf.checkPrivateKey(createPrivateKey(key))) return 'The key does not belong to the certificate.';
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = leaf.publicKey;
    if (type === 'rsa' && (details?.modulusLength ?? 0) >= 2048) return undefined;
    if (type === 'ec' && ['prime256v1', 'secp384r1', 'secp521r1'].includes(details?.namedCurve ?? '')) return undefined;
    return 'Envoy takes RSA keys from 2048 bits and EC keys on P-256, P-384 and P-521.';
  } catch {
    return 'The certificate or its key cannot be read.';
  }
}

import { Inject } from '@nestjs/common';
import { Command, CommandHandler, type ICommandHandler, QueryBus } from '@nestjs/cqrs';

import { ListServedHosts } from '#features/mapping/list-served-hosts.js';
import type { Db } from '#platform/database/database.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';
import { readSubject } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';
import type { Warning } from '#platform/http/write-answer.js';
import { DomainError } from '#platform/kernel/errors.js';
import { type SecretOwner, type SecretRef, Vault } from '#platform/vault/vault.js';

import { type CertificateState, certificateSubject, coversHost, rotateCertificate } from './certificate.js';
import { type CheckedKeyPair, checkCertificate, type KeyPairInput } from './check-certificate.js';
import { keepKeyPair } from './read-key-pair.js';

export interface PutCertificateResult {
  readonly outcome: Outcome;
  readonly warnings: readonly Warning[];
}

/** Sets a certificate with its key, or exchanges the one of its name. The same chain and key again are no change. */
export class PutCertificate extends Command<PutCertificateResult> {
  constructor(
    readonly gateway: string,
    readonly name: string,
    readonly input: KeyPairInput & { readonly source: CertificateState['source'] },
    readonly request: CommandRequest,
  ) {
    super();
  }
}

const MOST_WARNINGS = 10;
/** In place of the secret in a dry run, which keeps none. */
const NOT_KEPT: SecretRef = { id: '00000000-0000-0000-0000-000000000000', version: 0 };

@CommandHandler(PutCertificate)
export class PutCertificateHandler implements ICommandHandler<PutCertificate> {
  constructor(
    private readonly events: EventStore,
    private readonly vault: Vault,
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  /** @throws DomainError as `checkCertificate`, `Vault.put` and `EventStore.handle`; not_found `gateway_not_found`. */
  async execute({ gateway, name, input, request }: PutCertificate): Promise<PutCertificateResult> {
    const checked = await checkCertificate(input, new Date());
    const owner = { gateway, name };
    const { known, lost } = await this.present(owner, checked);
    const made = known === undefined ? await this.keep(owner, checked, request.dryRun) : undefined;
    const secret = known ?? made ?? NOT_KEPT;
    const state: CertificateState = { name, ...checked.facts, source: input.source, secret: { ...secret } };
    const { context, ...rest } = request;
    const command = {
      stream: `gateway/${gateway}`,
      subjects: ['gateway', certificateSubject(name)],
      context: { ...context, action: 'PutCertificate' },
    };
    try {
      const outcome = await this.events.handle({ ...rest, ...command }, rotateCertificate(state, lost));
      if (made !== undefined && !outcome.events.some(({ state: after }) => secretOf(after)?.id === made.id))
        await this.vault.destroy([made.id]);
      return { outcome, warnings: [...checked.warnings, ...(await this.uncovered(gateway, outcome, checked))] };
    } catch (error) {
      // What was refused is named nowhere; what may have been recorded stays, and the sweep finds out.
      if (made !== undefined && error instanceof DomainError && error.kind !== 'unavailable') await this.vault.destroy([made.id]);
      throw error;
    }
  }

  /** The secret of the same chain and key when they are here already, or the one that should be theirs and cannot be opened any more. */
  private async present(owner: SecretOwner, { facts }: CheckedKeyPair): Promise<{ known?: SecretRef; lost?: string }> {
    const { state } = await readSubject(this.db, `gateway/${owner.gateway}`, certificateSubject(owner.name));
    if (state === null || state.chainFingerprint !== facts.chainFingerprint) return {};
    const { secret } = state as CertificateState;
    try {
      await this.vault.open(owner, secret);
      return { known: secret };
    } catch (error) {
      if (error instanceof DomainError && ['secret_missing', 'secret_broken', 'key_missing'].includes(error.code))
        return { lost: secret.id };
      throw error;
    }
  }

  /** Hosts of mappings that the certificate before covered and this one does not. */
  private async uncovered(gateway: string, { before, unchanged }: Outcome, { facts }: CheckedKeyPair): Promise<Warning[]> {
    const past = unchanged ? null : ([...before.values()].find(({ subject }) => subject !== 'gateway')?.state as CertificateState | null);
    const dropped = (past?.sans.dns ?? []).filter((name) => !facts.sans.dns.includes(name));
    const hosts = await this.queries.execute(new ListServedHosts(gateway, dropped));
    return hosts
      .filter(({ host }) => !coversHost(facts.sans.dns, host))
      .slice(0, MOST_WARNINGS)
      .map(({ host, mappingCount }) => ({
        code: 'host_uncovered',
        message: `The certificate before covered ${host}, which ${mappingCount} mappings have; this one does not.`,
        pointer: '/certificateChain',
      }));
  }

  private async keep(owner: SecretOwner, checked: CheckedKeyPair, dryRun: boolean): Promise<SecretRef | undefined> {
    if (!dryRun) return keepKeyPair(this.vault, owner, checked);
    this.vault.requireKeys(); // a plan that could not be carried out is none
    return undefined;
  }
}

function secretOf(state: object | null): SecretRef | undefined {
  return (state as CertificateState | null)?.secret;
}

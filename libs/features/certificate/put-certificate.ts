import { Inject } from '@nestjs/common';
import { Command, CommandHandler, type ICommandHandler, QueryBus } from '@nestjs/cqrs';

import { ListServedHosts } from '#features/mapping/list-served-hosts.js';
import type { Db } from '#platform/database/database.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';
import { DB } from '#platform/http/tokens.js';
import type { Warning } from '#platform/http/write-answer.js';
import { Vault } from '#platform/vault/vault.js';

import { type CertificateState, coversHost } from './certificate.js';
import type { CheckedKeyPair } from './check-certificate.js';
import { type NewKeyPair, rotateKeyPair } from './rotate-key-pair.js';

export interface PutCertificateResult {
  readonly outcome: Outcome;
  readonly warnings: readonly Warning[];
}

/** Sets a certificate with its key, or exchanges the one of its name. The same chain and key again are no change. */
export class PutCertificate extends Command<PutCertificateResult> {
  constructor(
    readonly gateway: string,
    readonly name: string,
    readonly input: NewKeyPair,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

const MOST_WARNINGS = 10;

@CommandHandler(PutCertificate)
export class PutCertificateHandler implements ICommandHandler<PutCertificate> {
  constructor(
    private readonly events: EventStore,
    private readonly vault: Vault,
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  /** @throws DomainError as `rotateKeyPair`. */
  async execute({ gateway, name, input, request }: PutCertificate): Promise<PutCertificateResult> {
    const { events, vault, db } = this;
    const { outcome, checked } = await rotateKeyPair({ events, vault, db }, { gateway, name }, input, request);
    return { outcome, warnings: [...checked.warnings, ...(await this.uncovered(gateway, outcome, checked))] };
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
}

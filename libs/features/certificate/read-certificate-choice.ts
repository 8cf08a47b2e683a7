import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import { chosenCertificate, inListenerOrder } from '#features/gateway/certificate-choice.envoy.js';
import { ReadGateway } from '#features/gateway/list-gateways.js';
import type { Db } from '#platform/database/database.js';
import { DB } from '#platform/http/tokens.js';

import { coversHost } from './certificate.js';
import { listNames } from './certificate.table.js';

/** The certificate that a client gets. */
export interface ChosenCertificate {
  readonly name: string;
  /** Whether it has the name that is asked for; otherwise it is the one for names that none has, and clients will not believe it. */
  readonly covers: boolean;
}

/** Asks which of a gateway's certificates a client gets that asks for a host over TLS ('' for none), as Envoy chooses; null: there is none. */
export class ReadCertificateChoice extends Query<ChosenCertificate | null> {
  constructor(
    readonly gateway: string,
    readonly host: string,
  ) {
    super();
  }
}

@QueryHandler(ReadCertificateChoice)
export class ReadCertificateChoiceHandler implements IQueryHandler<ReadCertificateChoice> {
  constructor(
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  /** @throws DomainError not_found `gateway_not_found`. */
  async execute({ gateway, host }: ReadCertificateChoice): Promise<ChosenCertificate | null> {
    const { settings } = await this.queries.execute(new ReadGateway(gateway));
    const inOrder = inListenerOrder(await listNames(this.db, gateway), settings.tls.defaultCertificate);
    const chosen = chosenCertificate(inOrder, host);
    return chosen === undefined ? null : { name: chosen.name, covers: coversHost(chosen.dns, host) };
  }
}

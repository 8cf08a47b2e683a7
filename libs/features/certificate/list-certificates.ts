import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import { ReadGateway } from '#features/gateway/list-gateways.js';
import { ListServedHosts, type ServedHost } from '#features/mapping/list-served-hosts.js';
import type { Db } from '#platform/database/database.js';
import type { SubjectRecord } from '#platform/eventstore/event-store.js';
import { listSubjects, readSubject } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';
import { Vault } from '#platform/vault/vault.js';

import { type CertificateState, certificateSubject, coversHost, type PublicCertificate, publicFacts } from './certificate.js';
import { type CertificateUse, readCertificateUse } from './certificate-use.table.js';
import { type ExpiryState, expiryOf } from './expiry.js';

/** A certificate as it is read: what everybody may know, how long it lasts, and what rests on it. */
export interface CertificateView extends PublicCertificate, ExpiryState, CertificateUse {
  /** What it covers of the gateway's mappings; those of any host are not among them. */
  readonly serves: { readonly hosts: readonly ServedHost[]; readonly hostCount: number };
  readonly version: number;
  readonly gatewayVersion: number;
  readonly recordedAt: string | null;
}

/** The certificates of a gateway by name; `limit` at most. */
export class ListCertificates extends Query<CertificateView[]> {
  constructor(
    readonly gateway: string,
    readonly page: { readonly after: string | undefined; readonly limit: number },
  ) {
    super();
  }
}

@QueryHandler(ListCertificates)
export class ListCertificatesHandler implements IQueryHandler<ListCertificates> {
  constructor(
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  /** @throws DomainError not_found `gateway_not_found`. */
  async execute({ gateway, page: { after, limit } }: ListCertificates): Promise<CertificateView[]> {
    await this.queries.execute(new ReadGateway(gateway));
    const records = await listSubjects(this.db, {
      stream: `gateway/${gateway}`,
      kind: 'certificate',
      limit,
      ...(after === undefined ? {} : { after: certificateSubject(after) }),
    });
    return viewsOf(this.queries, this.db, gateway, records);
  }
}

/** One certificate, with its chain; undefined when there is none of this name. */
export class ReadCertificate extends Query<(CertificateView & { readonly certificateChain: string }) | undefined> {
  constructor(
    readonly gateway: string,
    readonly name: string,
  ) {
    super();
  }
}

@QueryHandler(ReadCertificate)
export class ReadCertificateHandler implements IQueryHandler<ReadCertificate> {
  constructor(
    private readonly queries: QueryBus,
    private readonly vault: Vault,
    @Inject(DB) private readonly db: Db,
  ) {}

  /** @throws DomainError not_found `gateway_not_found`; unavailable `secret_missing`. */
  async execute({ gateway, name }: ReadCertificate): Promise<(CertificateView & { readonly certificateChain: string }) | undefined> {
    const record = await readSubject(this.db, `gateway/${gateway}`, certificateSubject(name));
    const [view] = record.state === null ? [] : await viewsOf(this.queries, this.db, gateway, [record]);
    if (view === undefined) {
      await this.queries.execute(new ReadGateway(gateway)); // no such gateway, or no such certificate?
      return undefined;
    }
    const certificateChain = await this.vault.readOpenPart({ gateway, name }, (record.state as CertificateState).secret);
    return { ...view, certificateChain };
  }
}

/** So many hosts of one certificate are listed. */
const MOST_HOSTS = 100;

async function viewsOf(queries: QueryBus, db: Db, gateway: string, records: readonly SubjectRecord[]): Promise<CertificateView[]> {
  const states = records.map(({ state }) => state as CertificateState);
  const names = [...new Set(states.flatMap(({ sans }) => sans.dns))];
  const [uses, hosts] = await Promise.all([readCertificateUse(db, gateway, states), queries.execute(new ListServedHosts(gateway, names))]);
  const now = new Date();
  return records.map(({ version, streamVersion: gatewayVersion, recordedAt }, i) => {
    const facts = publicFacts(states[i] as CertificateState);
    const own = hosts.filter(({ host }) => coversHost(facts.sans.dns, host));
    const serves = { hosts: own.slice(0, MOST_HOSTS), hostCount: own.length };
    return { ...facts, ...expiryOf(facts, now), ...(uses[i] as CertificateUse), serves, version, gatewayVersion, recordedAt };
  });
}

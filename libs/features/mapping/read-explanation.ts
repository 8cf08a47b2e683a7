import { setImmediate as nextTurn } from 'node:timers/promises';

import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import { type ChosenCertificate, ReadCertificateChoice } from '#features/certificate/read-certificate-choice.js';
import { FindKnownEndpoints } from '#features/discovery/find-known-endpoints.js';
import { ReadGateway } from '#features/gateway/list-gateways.js';
import { ListMappingStatus } from '#features/rollout/list-mapping-status.js';

import { explainLosers, type Losers } from './explanation.js';
import { type NormalisedRequest, normaliseRequest, type SentRequest } from './normalised-request.js';
import { ReadRouteBook } from './read-route-book.js';
import type { RouteRow } from './route-table.js';
import { readService } from './service-reference.js';
import { isFault } from './text.js';

/** Where the upstream of a mapping is, as far as it is known. */
export interface KnownUpstream {
  /** A static list of the settings, an address that the mapping names itself, or what discovery says of where it looked; null: nobody has looked. */
  readonly source: string | null;
  readonly endpoints: readonly string[];
  readonly error: string | null;
}

/** What becomes of a request at a gateway, and why. */
export interface Explanation {
  /** Of the gateway, whose routes were asked. */
  readonly version: number;
  readonly normalised: NormalisedRequest;
  readonly winner: RouteRow | undefined;
  readonly losers: Losers;
  /** What holds at this moment, not at the version. Undefined with no winner. */
  readonly standing:
    | {
        readonly status: { readonly state: string; readonly code: string; readonly reason: string; readonly since: string } | null;
        readonly upstream: KnownUpstream;
      }
    | undefined;
  /** What a client gets that asks for the host over TLS, at this moment; null: there is no certificate. */
  readonly certificate: ChosenCertificate | null;
}

/** So many losers are told, the nearest ones. */
export const MOST_LOSERS = 20;

/** Asks what becomes of a request. */
export class ReadExplanation extends Query<Explanation> {
  constructor(
    readonly gateway: string,
    readonly request: SentRequest,
    readonly version: number | undefined,
  ) {
    super();
  }
}

@QueryHandler(ReadExplanation)
export class ReadExplanationHandler implements IQueryHandler<ReadExplanation> {
  constructor(private readonly queries: QueryBus) {}

  /** @throws DomainError not_found `gateway_not_found`, `version_not_found`. */
  async execute({ gateway, request: sent, version }: ReadExplanation): Promise<Explanation> {
    const normalised = normaliseRequest(sent);
    const book = await this.queries.execute(new ReadRouteBook(gateway, version));
    const { request, answered } = normalised;
    // The book may move on while the rows are gone through, so what belongs together is taken now.
    const taken = { version: book.version, rows: answered === undefined ? [...book.routes.rows()] : [] };
    const winner = answered === undefined ? book.routes.find(request) : undefined;
    const certificate = await this.queries.execute(new ReadCertificateChoice(gateway, request.host));
    const looking = explainLosers(taken.rows, request, winner, MOST_LOSERS);
    let step = looking.next();
    for (; step.done !== true; step = looking.next()) await nextTurn();
    return {
      version: taken.version,
      normalised,
      winner,
      losers: step.value,
      standing: winner === undefined ? undefined : await this.standing(gateway, winner),
      certificate,
    };
  }

  private async standing(gateway: string, row: RouteRow): Promise<Explanation['standing']> {
    const [{ statuses }, upstream] = await Promise.all([
      this.queries.execute(new ListMappingStatus(gateway, [row.mapping])),
      this.upstream(gateway, row),
    ]);
    return { status: statuses.get(row.mapping) ?? null, upstream };
  }

  private async upstream(gateway: string, row: RouteRow): Promise<KnownUpstream> {
    const service = readService(row.service);
    if (isFault(service)) return { source: null, endpoints: [], error: service.message };
    if (service.ipVersion !== 0) return { source: 'address', endpoints: [`${service.host}:${service.port}`], error: null };
    const { settings } = await this.queries.execute(new ReadGateway(gateway));
    const listed = [`${service.name}:${service.port}`, service.name]
      .filter((name) => Object.hasOwn(settings.services, name))
      .map((name) => settings.services[name])[0];
    if (listed !== undefined) return { source: 'settings', endpoints: listed, error: null };
    const found = await this.queries.execute(new FindKnownEndpoints(gateway, service));
    if (found === undefined) return { source: null, endpoints: [], error: null };
    const endpoints = found.endpoints.map(({ address, port }) => (address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`));
    return { source: found.source, endpoints, error: found.error === '' ? null : found.error };
  }
}

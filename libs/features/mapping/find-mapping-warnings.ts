import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import { FindKnownService } from '#features/discovery/find-known-service.js';
import type { GatewaySettings } from '#features/gateway/gateway.js';
import { ReadGateway } from '#features/gateway/list-gateways.js';
import type { Db } from '#platform/database/database.js';
import { listSubjects } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';

import { fromJson, type MappingState } from './mapping-state.js';
import { mappingWarnings, type Warning } from './mapping-warnings.js';
import { readService, type ServiceReference } from './service-reference.js';
import { isFault } from './text.js';

/** Above this many mappings nobody waits for a look at all of them: whether one shadows another is then not said. */
const MOST_COMPARED = 50;

/** What is worth saying of a mapping that was accepted. */
export class FindMappingWarnings extends Query<Warning[]> {
  constructor(
    readonly gateway: string,
    readonly state: MappingState,
  ) {
    super();
  }
}

@QueryHandler(FindMappingWarnings)
export class FindMappingWarningsHandler implements IQueryHandler<FindMappingWarnings> {
  constructor(
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  async execute({ gateway, state }: FindMappingWarnings): Promise<Warning[]> {
    const service = readService(state.service);
    const [{ settings }, records] = await Promise.all([
      this.queries.execute(new ReadGateway(gateway)),
      listSubjects(this.db, { stream: `gateway/${gateway}`, kind: 'mapping', limit: MOST_COMPARED + 1 }),
    ]);
    const known = isFault(service) || (await this.isKnown(gateway, settings, service));
    return mappingWarnings(state, {
      isKnown: () => known,
      ...(records.length > MOST_COMPARED
        ? {}
        : { others: records.map((record) => fromJson(record.subject.slice('mapping/'.length), record.state ?? {})) }),
      // Said of a timeout that somebody chose for this mapping: the gateway's default is another's choice, and its warning would be on every mapping.
      ...(state.timeoutMs === settings.defaultTimeoutMs ? {} : { windowMs: (settings.parentShutdownTimeS - settings.drainTimeS) * 1000 }),
    });
  }

  private async isKnown(gateway: string, settings: GatewaySettings, service: ServiceReference): Promise<boolean | undefined> {
    if (service.ipVersion !== 0 || Object.hasOwn(settings.services, service.name)) return true;
    return this.queries.execute(new FindKnownService(gateway, service));
  }
}

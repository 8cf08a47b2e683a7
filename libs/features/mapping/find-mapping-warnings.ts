import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import { FindKnownService } from '#features/discovery/find-known-service.js';
import { ReadGateway } from '#features/gateway/list-gateways.js';
import type { Warning } from '#platform/http/write-answer.js';

import type { MappingState } from './mapping-state.js';
import { readService } from './service-reference.js';
import { isFault } from './text.js';

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
  constructor(private readonly queries: QueryBus) {}

  async execute({ gateway, state }: FindMappingWarnings): Promise<Warning[]> {
    const service = readService(state.service);
    if (isFault(service) || service.ipVersion !== 0) return [];
    const { settings } = await this.queries.execute(new ReadGateway(gateway));
    if (Object.hasOwn(settings.services, service.name)) return [];
    if (await this.queries.execute(new FindKnownService(gateway, service))) return [];
    const message = `No instance of ${service.host}:${service.port} is known yet. The route answers 503 until one is, and then goes live by itself.`;
    return [{ code: 'unresolved_service', message, pointer: '/service' }];
  }
}

import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import { FindKnownService } from '#features/discovery/find-known-service.js';
import type { GatewaySettings } from '#features/gateway/gateway.js';
import { ReadGateway } from '#features/gateway/list-gateways.js';
import type { Outcome } from '#platform/eventstore/event-store.js';

import { gatewaySubject } from './mapping.js';
import type { MappingState } from './mapping-state.js';
import { mappingWarnings, type Warning } from './mapping-warnings.js';
import { ReadSurroundings, type Surroundings } from './read-surroundings.js';
import { readService } from './service-reference.js';
import { isFault } from './text.js';

/** What is worth saying of a mapping that a write has left, or would leave; `beside` is what was read while it was under way. */
export class FindMappingWarnings extends Query<Warning[]> {
  constructor(
    readonly gateway: string,
    readonly state: MappingState,
    readonly outcome: Outcome,
    readonly beside: Promise<Surroundings>,
  ) {
    super();
  }
}

@QueryHandler(FindMappingWarnings)
export class FindMappingWarningsHandler implements IQueryHandler<FindMappingWarnings> {
  constructor(private readonly queries: QueryBus) {}

  async execute({ gateway, state, outcome, beside }: FindMappingWarnings): Promise<Warning[]> {
    // The settings that the write was decided by; an answer that is given again does not have them.
    const { settings } = await this.queries.execute(new ReadGateway(gateway, outcome.before.get(gatewaySubject)));
    const known = await this.surroundings(gateway, state, outcome, beside);
    const isKnown = await this.isKnown(gateway, state, settings, known);
    return mappingWarnings(state, {
      isKnown: () => isKnown,
      ...(known.mappings === undefined ? {} : { others: known.mappings }),
      // Said of a timeout that somebody chose for this mapping: the gateway's default is another's choice, and its warning would be on every mapping.
      ...(state.timeoutMs === settings.defaultTimeoutMs ? {} : { windowMs: (settings.parentShutdownTimeS - settings.drainTimeS) * 1000 }),
    });
  }

  /** Whoever else wrote between the look and the write is seen as well: then it is looked again. */
  private async surroundings(
    gateway: string,
    { service }: MappingState,
    outcome: Outcome,
    beside: Promise<Surroundings>,
  ): Promise<Surroundings> {
    const read = await beside;
    const decidedOn = outcome.unchanged ? outcome.version : outcome.version - 1;
    return read.version >= decidedOn ? read : this.queries.execute(new ReadSurroundings(gateway, service));
  }

  private async isKnown(
    gateway: string,
    state: MappingState,
    settings: GatewaySettings,
    { service }: Surroundings,
  ): Promise<boolean | undefined> {
    const reference = readService(state.service);
    if (isFault(reference) || reference.ipVersion !== 0 || Object.hasOwn(settings.services, reference.name)) return true;
    return service?.name === state.service ? service.isKnown : this.queries.execute(new FindKnownService(gateway, reference));
  }
}

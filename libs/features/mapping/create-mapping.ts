import { Optional } from '@nestjs/common';
import { Command, CommandHandler, type ICommandHandler, QueryBus } from '@nestjs/cqrs';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';

import { createMapping, gatewaySubject, mappingSubject } from './mapping.js';
import { MappingBudget } from './mapping-budget.table.js';
import type { MappingInput } from './mapping-input.js';
import { explainTaken } from './match-claims.js';
import { OwnPorts } from './own-ports.js';
import { ReadRouteGuard } from './read-route-guard.js';

/** Makes a new mapping; refused (409) when the name or the match is taken. */
export class CreateMapping extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly input: MappingInput,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(CreateMapping)
export class CreateMappingHandler implements ICommandHandler<CreateMapping> {
  constructor(
    private readonly events: EventStore,
    private readonly queries: QueryBus,
    @Optional() private readonly own: OwnPorts = new OwnPorts([]),
    @Optional() private readonly budget?: MappingBudget,
  ) {}

  async execute({ gateway, input, request }: CreateMapping): Promise<Outcome> {
    const { context, ...rest } = request;
    const guard = await this.queries.execute(new ReadRouteGuard(gateway, request));
    const place = await this.budget?.take(gateway);
    try {
      return await guard.handle(
        this.events,
        {
          ...rest,
          stream: `gateway/${gateway}`,
          subjects: [gatewaySubject, mappingSubject(input.name)],
          context: { ...context, action: 'CreateMapping' },
        },
        createMapping(input, { ownPorts: this.own.ports, isFull: place?.isFull === true }),
      );
    } catch (error) {
      throw explainTaken(error);
    } finally {
      place?.release();
    }
  }
}

import { Command, CommandHandler, type ICommandHandler, QueryBus } from '@nestjs/cqrs';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';

import { deleteMapping, gatewaySubject, mappingSubject } from './mapping.js';
import { ReadRouteGuard } from './read-route-guard.js';

/** Ends a mapping; one that is not there is 404, or nothing to do with `ignoreMissing`. */
export class DeleteMapping extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly name: string,
    readonly request: CommandRequest,
    readonly options: { readonly ignoreMissing?: boolean } = {},
  ) {
    super();
  }
}

@CommandHandler(DeleteMapping)
export class DeleteMappingHandler implements ICommandHandler<DeleteMapping> {
  constructor(
    private readonly events: EventStore,
    private readonly queries: QueryBus,
  ) {}

  async execute({ gateway, name, request, options }: DeleteMapping): Promise<Outcome> {
    const { context, ...rest } = request;
    const guard = await this.queries.execute(new ReadRouteGuard(gateway, request));
    return guard.handle(
      this.events,
      {
        ...rest,
        stream: `gateway/${gateway}`,
        subjects: [gatewaySubject, mappingSubject(name)],
        context: { ...context, action: 'DeleteMapping' },
      },
      deleteMapping(name, options),
    );
  }
}

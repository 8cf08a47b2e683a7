import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';

import { deleteMapping, gatewaySubject, mappingSubject } from './mapping.js';

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
  constructor(private readonly events: EventStore) {}

  execute({ gateway, name, request, options }: DeleteMapping): Promise<Outcome> {
    const { context, ...rest } = request;
    return this.events.handle(
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

import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';

import { deletePrincipal, principalSubject } from './principal.js';

/** Ends a principal; one that is not there is nothing to do. */
export class DeletePrincipal extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly name: string,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(DeletePrincipal)
export class DeletePrincipalHandler implements ICommandHandler<DeletePrincipal> {
  constructor(private readonly events: EventStore) {}

  execute({ gateway, name, request }: DeletePrincipal): Promise<Outcome> {
    const { context, ...rest } = request;
    const subjects = ['gateway', principalSubject(name)];
    return this.events.handle(
      { ...rest, stream: `gateway/${gateway}`, subjects, context: { ...context, action: 'DeletePrincipal' } },
      deletePrincipal(name),
    );
  }
}

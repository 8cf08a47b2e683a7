import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';

import { deleteRouteTest, routeTestSubject } from './route-test.js';

/** Ends a route test; one that is not there is 404. */
export class DeleteRouteTest extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly name: string,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(DeleteRouteTest)
export class DeleteRouteTestHandler implements ICommandHandler<DeleteRouteTest> {
  constructor(private readonly events: EventStore) {}

  execute({ gateway, name, request }: DeleteRouteTest): Promise<Outcome> {
    const { context, ...rest } = request;
    const subjects = ['gateway', routeTestSubject(name)];
    return this.events.handle(
      { ...rest, stream: `gateway/${gateway}`, subjects, context: { ...context, action: 'DeleteRouteTest' } },
      deleteRouteTest(name),
    );
  }
}

import { Command, CommandHandler, type ICommandHandler, QueryBus } from '@nestjs/cqrs';

import { ReadRouteGuard } from '#features/mapping/read-route-guard.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';

import { putRouteTest, type RouteTestState, routeTestSubject } from './route-test.js';

/** Creates a route test or replaces it; refused (422) when it does not hold now, unless that is overridden. */
export class PutRouteTest extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly state: RouteTestState,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(PutRouteTest)
export class PutRouteTestHandler implements ICommandHandler<PutRouteTest> {
  constructor(
    private readonly events: EventStore,
    private readonly queries: QueryBus,
  ) {}

  async execute({ gateway, state, request }: PutRouteTest): Promise<Outcome> {
    const { context, ...rest } = request;
    const guard = await this.queries.execute(new ReadRouteGuard(gateway, request));
    const subjects = ['gateway', routeTestSubject(state.name)];
    return guard.handle(
      this.events,
      { ...rest, stream: `gateway/${gateway}`, subjects, context: { ...context, action: 'PutRouteTest' } },
      putRouteTest(state),
    );
  }
}

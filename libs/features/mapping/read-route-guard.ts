import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { DomainError } from '#platform/kernel/errors.js';

import { ReadRouteBook } from './read-route-book.js';
import { RouteGuard } from './route-guard.js';

/** What keeps one write from breaking the gateway's route tests. A test that is made while the write is under way does not know of it. */
export class ReadRouteGuard extends Query<RouteGuard> {
  constructor(
    readonly gateway: string,
    readonly request: Pick<CommandRequest, 'context' | 'dryRun' | 'overrideRouteTests'>,
  ) {
    super();
  }
}

@QueryHandler(ReadRouteGuard)
export class ReadRouteGuardHandler implements IQueryHandler<ReadRouteGuard> {
  constructor(private readonly queries: QueryBus) {}

  /** Reads nothing yet: whether there are tests is seen with the subjects of the decision. @throws DomainError invalid `reason_missing` when tests are to be overridden and nobody says why. */
  async execute({ gateway, request }: ReadRouteGuard): Promise<RouteGuard> {
    const override = request.overrideRouteTests === true;
    if (override && (request.context.reason ?? '') === '') {
      const message = 'Say why the route tests are overridden: give a reason.';
      throw new DomainError('invalid', 'reason_missing', message, { errors: [{ pointer: '/reason', code: 'reason_missing', message }] });
    }
    return new RouteGuard({ override, dryRun: request.dryRun }, () => this.queries.execute(new ReadRouteBook(gateway)));
  }
}

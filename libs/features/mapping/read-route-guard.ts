import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { listSubjects } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';
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
  constructor(
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  /** @throws DomainError invalid `reason_missing` when tests are to be overridden and nobody says why. */
  async execute({ gateway, request }: ReadRouteGuard): Promise<RouteGuard> {
    const override = request.overrideRouteTests === true;
    if (override && (request.context.reason ?? '') === '') {
      const message = 'Say why the route tests are overridden: give a reason.';
      throw new DomainError('invalid', 'reason_missing', message, { errors: [{ pointer: '/reason', code: 'reason_missing', message }] });
    }
    const read = () => this.queries.execute(new ReadRouteBook(gateway));
    const tests = await inTime(listSubjects(this.db, { stream: `gateway/${gateway}`, kind: 'route-test', limit: 1 }));
    return new RouteGuard({ override, dryRun: request.dryRun }, tests.length === 0 ? undefined : await read(), read);
  }
}

/** A write answers within its deadline, also when the network has swallowed what stands before it. In ms. */
const LOOK_MS = 4_000;

async function inTime<T>(look: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const message = 'The database does not answer. Nothing was changed; try again.';
    timer = setTimeout(() => reject(new DomainError('unavailable', 'database_unavailable', message)), LOOK_MS);
  });
  try {
    return await Promise.race([look, late]);
  } finally {
    clearTimeout(timer);
  }
}

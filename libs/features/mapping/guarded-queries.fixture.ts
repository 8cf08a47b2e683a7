import type { Query, QueryBus } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';

import { ReadRouteBook, ReadRouteBookHandler } from './read-route-book.js';
import { ReadRouteGuard, ReadRouteGuardHandler } from './read-route-guard.js';
import { ReadTestResults, ReadTestResultsHandler } from './read-test-results.js';

/** A bus with the real handlers that every write of mappings asks; `rest` answers the other queries. */
export function guardedQueries(
  db: Db,
  rest: (query: Query<unknown>) => Promise<unknown> = (query) => Promise.reject(new Error(`nobody answers ${query.constructor.name}`)),
): QueryBus {
  const books = new ReadRouteBookHandler(db);
  const execute = (query: Query<unknown>): Promise<unknown> => {
    if (query instanceof ReadRouteBook) return books.execute(query);
    if (query instanceof ReadRouteGuard) return guards.execute(query);
    if (query instanceof ReadTestResults) return results.execute(query);
    return rest(query);
  };
  const bus = { execute } as unknown as QueryBus;
  const guards = new ReadRouteGuardHandler(bus);
  const results = new ReadTestResultsHandler(bus);
  return bus;
}

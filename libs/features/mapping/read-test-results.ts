import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import type { JsonObject } from '#platform/kernel/json.js';

import { ReadRouteBook } from './read-route-book.js';
import { type FailedTest, judgeTests, type RouteResult } from './tested-routes.js';

/** What route tests come to on the routes of a gateway as they are, in their order. */
export class ReadTestResults extends Query<{ readonly failure: FailedTest | undefined; readonly got: RouteResult }[]> {
  constructor(
    readonly gateway: string,
    readonly tests: readonly JsonObject[],
  ) {
    super();
  }
}

@QueryHandler(ReadTestResults)
export class ReadTestResultsHandler implements IQueryHandler<ReadTestResults> {
  constructor(private readonly queries: QueryBus) {}

  async execute({ gateway, tests }: ReadTestResults): Promise<ReturnType<typeof judgeTests>> {
    return judgeTests(await this.queries.execute(new ReadRouteBook(gateway)), tests);
  }
}

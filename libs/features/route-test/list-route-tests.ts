import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import { ReadGateway } from '#features/gateway/list-gateways.js';
import { ReadTestResults } from '#features/mapping/read-test-results.js';
import type { FailedTest, RouteResult } from '#features/mapping/tested-routes.js';
import type { Db } from '#platform/database/database.js';
import type { SubjectRecord } from '#platform/eventstore/event-store.js';
import { listSubjects, readSubject } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';

import { type RouteTestState, routeTestSubject } from './route-test.js';

/** A route test as it is read, with what it comes to on the routes of this moment. */
export interface RouteTestView extends Pick<RouteTestState, 'name' | 'request' | 'expect'> {
  readonly version: number;
  readonly gatewayVersion: number;
  readonly recordedAt: string | null;
  readonly result: { readonly passed: boolean; readonly got: RouteResult; readonly message: string | null };
}

/** The route tests of a gateway by name; `limit` at most. */
export class ListRouteTests extends Query<RouteTestView[]> {
  constructor(
    readonly gateway: string,
    readonly page: { readonly after: string | undefined; readonly limit: number },
  ) {
    super();
  }
}

@QueryHandler(ListRouteTests)
export class ListRouteTestsHandler implements IQueryHandler<ListRouteTests> {
  constructor(
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  /** @throws DomainError not_found `gateway_not_found`. */
  async execute({ gateway, page: { after, limit } }: ListRouteTests): Promise<RouteTestView[]> {
    await this.queries.execute(new ReadGateway(gateway));
    const records = await listSubjects(this.db, {
      stream: `gateway/${gateway}`,
      kind: 'route-test',
      limit,
      ...(after === undefined ? {} : { after: routeTestSubject(after) }),
    });
    return withResults(this.queries, gateway, records);
  }
}

/** One route test; undefined when there is none of this name. */
export class ReadRouteTest extends Query<RouteTestView | undefined> {
  constructor(
    readonly gateway: string,
    readonly name: string,
  ) {
    super();
  }
}

@QueryHandler(ReadRouteTest)
export class ReadRouteTestHandler implements IQueryHandler<ReadRouteTest> {
  constructor(
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  /** @throws DomainError not_found `gateway_not_found`. */
  async execute({ gateway, name }: ReadRouteTest): Promise<RouteTestView | undefined> {
    const record = await readSubject(this.db, `gateway/${gateway}`, routeTestSubject(name));
    if (record.state !== null) return (await withResults(this.queries, gateway, [record]))[0];
    await this.queries.execute(new ReadGateway(gateway)); // no such gateway, or no such test?
    return undefined;
  }
}

async function withResults(queries: QueryBus, gateway: string, records: readonly SubjectRecord[]): Promise<RouteTestView[]> {
  if (records.length === 0) return [];
  const states = records.map(({ state }) => state as RouteTestState);
  const results = await queries.execute(new ReadTestResults(gateway, states));
  return records.map((record, i) => {
    const { name, request, expect } = states[i] as RouteTestState;
    const { version, streamVersion: gatewayVersion, recordedAt } = record;
    return { name, request, expect, version, gatewayVersion, recordedAt, result: toResult(results[i]) };
  });
}

function toResult(found: { readonly failure: FailedTest | undefined; readonly got: RouteResult } | undefined): RouteTestView['result'] {
  if (found === undefined) throw new Error('a route test has no result');
  return { passed: found.failure === undefined, got: found.got, message: found.failure?.message ?? null };
}

import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import { ReadGateway } from '#features/gateway/list-gateways.js';
import type { Db } from '#platform/database/database.js';
import { DB } from '#platform/http/tokens.js';

import { listRoutes, type RouteFilters, type RouteProjection, type RouteView, readRouteProjections } from './mapping.projection.js';

/** The current route table, as far as the projector has come. */
export interface RouteTablePage {
  readonly rows: readonly RouteView[];
  /** undefined while no projector has met this gateway. */
  readonly projection: RouteProjection | undefined;
}

/** The rows of a gateway's route table in the order in which a request asks them; `limit` at most. */
export class ListRoutes extends Query<RouteTablePage> {
  constructor(
    readonly gateway: string,
    readonly page: { readonly after?: string; readonly limit: number; readonly filters: RouteFilters },
  ) {
    super();
  }
}

@QueryHandler(ListRoutes)
export class ListRoutesHandler implements IQueryHandler<ListRoutes> {
  constructor(
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  async execute({ gateway, page }: ListRoutes): Promise<RouteTablePage> {
    await this.queries.execute(new ReadGateway(gateway));
    const [[projection], rows] = await Promise.all([readRouteProjections(this.db, gateway), listRoutes(this.db, gateway, page)]);
    return { rows, projection };
  }
}

import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { DB } from '#platform/http/tokens.js';

import { type GatewayStats, readStats } from './stats.table.js';

/** The statistics of a gateway, summed over its targets. */
export class ReadStats extends Query<GatewayStats> {
  constructor(readonly gateway: string) {
    super();
  }
}

@QueryHandler(ReadStats)
export class ReadStatsHandler implements IQueryHandler<ReadStats> {
  constructor(@Inject(DB) private readonly db: Db) {}

  execute({ gateway }: ReadStats): Promise<GatewayStats> {
    return readStats(this.db, gateway);
  }
}

import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { DB } from '#platform/http/tokens.js';

import { type KnownEndpoints, readKnownEndpoints } from './known-services.table.js';

/** Where a service is right now, as far as discovery knows; undefined: nobody has looked yet. */
export class FindKnownEndpoints extends Query<KnownEndpoints | undefined> {
  constructor(
    readonly gateway: string,
    readonly service: { readonly host: string; readonly port: number },
  ) {
    super();
  }
}

@QueryHandler(FindKnownEndpoints)
export class FindKnownEndpointsHandler implements IQueryHandler<FindKnownEndpoints> {
  constructor(@Inject(DB) private readonly db: Db) {}

  execute({ gateway, service }: FindKnownEndpoints): Promise<KnownEndpoints | undefined> {
    return readKnownEndpoints(this.db, gateway, service);
  }
}

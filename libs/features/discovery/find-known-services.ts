import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { DB } from '#platform/http/tokens.js';

import { areServicesKnown } from './known-services.table.js';

/** As FindKnownService, for many at once: the answers in the services' order. */
export class FindKnownServices extends Query<(boolean | undefined)[]> {
  constructor(
    readonly gateway: string,
    readonly services: readonly { readonly host: string; readonly port: number }[],
  ) {
    super();
  }
}

@QueryHandler(FindKnownServices)
export class FindKnownServicesHandler implements IQueryHandler<FindKnownServices> {
  constructor(@Inject(DB) private readonly db: Db) {}

  execute({ gateway, services }: FindKnownServices): Promise<(boolean | undefined)[]> {
    return areServicesKnown(this.db, gateway, services);
  }
}

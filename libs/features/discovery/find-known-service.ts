import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { DB } from '#platform/http/tokens.js';

import { isServiceKnown } from './known-services.table.js';

/** Whether an instance of the service is known right now (undefined: nobody has looked): the warning of a mapping that would answer 503 until one is. */
export class FindKnownService extends Query<boolean | undefined> {
  constructor(
    readonly gateway: string,
    readonly service: { readonly host: string; readonly port: number },
  ) {
    super();
  }
}

@QueryHandler(FindKnownService)
export class FindKnownServiceHandler implements IQueryHandler<FindKnownService> {
  constructor(@Inject(DB) private readonly db: Db) {}

  execute({ gateway, service }: FindKnownService): Promise<boolean | undefined> {
    return isServiceKnown(this.db, gateway, service);
  }
}

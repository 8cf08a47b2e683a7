import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { DB } from '#platform/http/tokens.js';

import { type ConfirmationView, listConfirmations } from './confirmation.table.js';

/** The versions of a gateway that asked to be confirmed, newest first. */
export class ListConfirmations extends Query<ConfirmationView[]> {
  constructor(readonly filter: Parameters<typeof listConfirmations>[1]) {
    super();
  }
}

@QueryHandler(ListConfirmations)
export class ListConfirmationsHandler implements IQueryHandler<ListConfirmations> {
  constructor(@Inject(DB) private readonly db: Db) {}

  execute({ filter }: ListConfirmations): Promise<ConfirmationView[]> {
    return listConfirmations(this.db, filter);
  }
}

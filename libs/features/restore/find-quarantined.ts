import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { DB } from '#platform/http/tokens.js';

import { readQuarantines } from './list-quarantines.js';
import { type QuarantinedState, quarantinedAmong, type StateDigest } from './quarantine.js';

/** Which of these states of a gateway's subjects are under quarantine. */
export class FindQuarantined extends Query<QuarantinedState[]> {
  constructor(
    readonly gateway: string,
    readonly states: readonly StateDigest[],
  ) {
    super();
  }
}

@QueryHandler(FindQuarantined)
export class FindQuarantinedHandler implements IQueryHandler<FindQuarantined> {
  constructor(@Inject(DB) private readonly db: Db) {}

  async execute({ gateway, states }: FindQuarantined): Promise<QuarantinedState[]> {
    return quarantinedAmong(await readQuarantines(this.db, gateway), states);
  }
}

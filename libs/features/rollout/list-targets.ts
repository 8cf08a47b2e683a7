import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { DB } from '#platform/http/tokens.js';

import { listTargets, readTarget, type TargetView } from './target.table.js';

/** The targets (Envoys) of a gateway, by name. */
export class ListTargets extends Query<TargetView[]> {
  constructor(readonly gateway: string) {
    super();
  }
}

@QueryHandler(ListTargets)
export class ListTargetsHandler implements IQueryHandler<ListTargets> {
  constructor(@Inject(DB) private readonly db: Db) {}

  execute({ gateway }: ListTargets): Promise<TargetView[]> {
    return listTargets(this.db, gateway);
  }
}

/** One target; undefined when there is none of this name. */
export class ReadTarget extends Query<TargetView | undefined> {
  constructor(
    readonly gateway: string,
    readonly name: string,
  ) {
    super();
  }
}

@QueryHandler(ReadTarget)
export class ReadTargetHandler implements IQueryHandler<ReadTarget> {
  constructor(@Inject(DB) private readonly db: Db) {}

  execute({ gateway, name }: ReadTarget): Promise<TargetView | undefined> {
    return readTarget(this.db, gateway, name);
  }
}

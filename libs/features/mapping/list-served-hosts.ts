import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { DB } from '#platform/http/tokens.js';

import { listHostsUnder, type ServedHost } from './served-hosts.table.js';

export type { ServedHost } from './served-hosts.table.js';

/**
 * The hosts of a gateway's mappings that these names (of certificates: exact, or `*.` for one label) cover, with the mappings of each; mappings of any host
 * are not among them. As far as the projector has come.
 */
export class ListServedHosts extends Query<ServedHost[]> {
  constructor(
    readonly gateway: string,
    readonly names: readonly string[],
  ) {
    super();
  }
}

@QueryHandler(ListServedHosts)
export class ListServedHostsHandler implements IQueryHandler<ListServedHosts> {
  constructor(@Inject(DB) private readonly db: Db) {}

  async execute({ gateway, names }: ListServedHosts): Promise<ServedHost[]> {
    return names.length === 0 ? [] : listHostsUnder(this.db, gateway, names);
  }
}

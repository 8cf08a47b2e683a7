import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { DB } from '#platform/http/tokens.js';

import { listMappingStatus, type MappingStatus } from './mapping-status.table.js';
import { listTargets } from './target.table.js';

/** What the rollout knows of a gateway's mappings. */
export interface GatewayRollout {
  readonly statuses: ReadonlyMap<string, MappingStatus>;
  /** The version that every enrolled target has proven through its data plane; null when no target is enrolled. */
  readonly provenVersion: number | null;
  /** How many targets are enrolled. */
  readonly targets: number;
}

/** Asks what became of a gateway's mappings, of all or of the named ones. */
export class ListMappingStatus extends Query<GatewayRollout> {
  constructor(
    readonly gateway: string,
    readonly names?: readonly string[],
  ) {
    super();
  }
}

@QueryHandler(ListMappingStatus)
export class ListMappingStatusHandler implements IQueryHandler<ListMappingStatus> {
  constructor(@Inject(DB) private readonly db: Db) {}

  async execute({ gateway, names }: ListMappingStatus): Promise<GatewayRollout> {
    const [statuses, targets] = await Promise.all([listMappingStatus(this.db, gateway, names), listTargets(this.db, gateway)]);
    const enrolled = targets.filter((target) => target.state === 'enrolled' && target.kind === 'agent');
    const provenVersion = enrolled.length === 0 ? null : Math.min(...enrolled.map((target) => target.provenVersion));
    return { statuses, provenVersion, targets: enrolled.length };
  }
}

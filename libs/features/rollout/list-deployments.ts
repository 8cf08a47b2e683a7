import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { listSubjects, readSubject } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';

import { type DeploymentFilter, type DeploymentView, listDeployments, readDeployment } from './deployment.table.js';
import type { RedeploymentState } from './request-redeployment.js';

/** The pushes of a gateway, newest first. */
export class ListDeployments extends Query<DeploymentView[]> {
  constructor(readonly filter: DeploymentFilter) {
    super();
  }
}

@QueryHandler(ListDeployments)
export class ListDeploymentsHandler implements IQueryHandler<ListDeployments> {
  constructor(@Inject(DB) private readonly db: Db) {}

  execute({ filter }: ListDeployments): Promise<DeploymentView[]> {
    return listDeployments(this.db, filter);
  }
}

/** One push of this gateway; undefined when there is none of this id. */
export class ReadDeployment extends Query<DeploymentView | undefined> {
  constructor(
    readonly gateway: string,
    readonly id: string,
  ) {
    super();
  }
}

@QueryHandler(ReadDeployment)
export class ReadDeploymentHandler implements IQueryHandler<ReadDeployment> {
  constructor(@Inject(DB) private readonly db: Db) {}

  async execute({ gateway, id }: ReadDeployment): Promise<DeploymentView | undefined> {
    const found = await readDeployment(this.db, id);
    return found?.gateway === gateway ? found : undefined;
  }
}

/** A request to push again, as it was made. */
export interface RedeploymentView extends RedeploymentState {
  readonly id: string;
  readonly requestedAt: string | null;
}

/** The redeployments that were asked for, by id. */
export class ListRedeployments extends Query<RedeploymentView[]> {
  constructor(readonly filter: { readonly gateway: string; readonly after: string | undefined; readonly limit: number }) {
    super();
  }
}

@QueryHandler(ListRedeployments)
export class ListRedeploymentsHandler implements IQueryHandler<ListRedeployments> {
  constructor(@Inject(DB) private readonly db: Db) {}

  async execute({ filter }: ListRedeployments): Promise<RedeploymentView[]> {
    const { gateway, after, limit } = filter;
    const records = await listSubjects(this.db, {
      stream: `deployments/${gateway}`,
      kind: 'redeployment',
      limit,
      ...(after === undefined ? {} : { after: `redeployment/${after}` }),
    });
    return records.map((record) => ({
      ...(record.state as RedeploymentState),
      id: record.subject.slice('redeployment/'.length),
      requestedAt: record.recordedAt,
    }));
  }
}

/** One request; undefined when there was none of this id. */
export class ReadRedeployment extends Query<RedeploymentView | undefined> {
  constructor(
    readonly gateway: string,
    readonly id: string,
  ) {
    super();
  }
}

@QueryHandler(ReadRedeployment)
export class ReadRedeploymentHandler implements IQueryHandler<ReadRedeployment> {
  constructor(@Inject(DB) private readonly db: Db) {}

  async execute({ gateway, id }: ReadRedeployment): Promise<RedeploymentView | undefined> {
    const record = await readSubject(this.db, `deployments/${gateway}`, `redeployment/${id}`);
    if (record.state === null) return undefined;
    return { ...(record.state as RedeploymentState), id, requestedAt: record.recordedAt };
  }
}

import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import type { SubjectRecord } from '#platform/eventstore/event-store.js';
import { listStreams, readSubject } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';
import { DomainError } from '#platform/kernel/errors.js';

import { type GatewaySettings, settingsOf } from './gateway.js';

export interface GatewaySummary {
  readonly name: string;
  /** The newest version of its configuration. */
  readonly version: number;
  readonly hash: string;
}

/** Every gateway, by name. There are few: each is a configuration of its own. */
export class ListGateways extends Query<GatewaySummary[]> {}

@QueryHandler(ListGateways)
export class ListGatewaysHandler implements IQueryHandler<ListGateways> {
  constructor(@Inject(DB) private readonly db: Db) {}

  async execute(): Promise<GatewaySummary[]> {
    const streams = await listStreams(this.db, 'gateway/%');
    const gateways = streams.map(({ stream, version, hash }) => ({ name: stream.slice('gateway/'.length), version, hash }));
    return gateways.sort((a, b) => (a.name < b.name ? -1 : 1));
  }
}

export interface GatewayRead {
  readonly settings: GatewaySettings;
  /** The settings' own version. */
  readonly version: number;
}

/** One gateway's settings. Also how every other read finds out that there is such a gateway. */
export class ReadGateway extends Query<GatewayRead> {
  /** @param record The subject of its settings, where the asker has just read it. */
  constructor(
    readonly gateway: string,
    readonly record?: SubjectRecord | undefined,
  ) {
    super();
  }
}

@QueryHandler(ReadGateway)
export class ReadGatewayHandler implements IQueryHandler<ReadGateway> {
  constructor(@Inject(DB) private readonly db: Db) {}

  /** @throws DomainError not_found `gateway_not_found`. */
  async execute({ gateway, record: known }: ReadGateway): Promise<GatewayRead> {
    const record = known ?? (await readSubject(this.db, `gateway/${gateway}`, 'gateway'));
    if (record.state === null) throw new DomainError('not_found', 'gateway_not_found', 'There is no such gateway.');
    return { settings: settingsOf(record.state), version: record.version };
  }
}

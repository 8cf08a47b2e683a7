import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import { ReadGateway } from '#features/gateway/list-gateways.js';
import { type GatewayRollout, ListMappingStatus } from '#features/rollout/list-mapping-status.js';
import type { Db } from '#platform/database/database.js';
import type { SubjectRecord } from '#platform/eventstore/event-store.js';
import { listSubjects, readSubject } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';

import { mappingSubject } from './mapping.js';
import { fromJson, type MappingState } from './mapping-state.js';

interface StatusReason {
  readonly code: string;
  readonly message: string;
  readonly since: string | null;
}

/**
 * Where a mapping stands. `pending`: recorded, and not yet proven on every enrolled target. `live`: proven on all of them.
 * `unresolved`: its service has no instance that is known, it answers 503 until one is. `set_aside`: Envoy refuses it, it answers 503
 * and the rest went live.
 */
interface MappingStatusView {
  readonly state: 'live' | 'pending' | 'unresolved' | 'set_aside';
  readonly reasons: readonly StatusReason[];
}

/** A mapping as it is read: what was recorded, its own version, and where it stands. */
export interface MappingView extends MappingState {
  readonly version: number;
  /** The gateway's version that made this one. */
  readonly gatewayVersion: number;
  readonly recordedAt: string | null;
  readonly status: MappingStatusView;
}

export interface MappingFilter {
  readonly gateway: string;
  readonly after: string | undefined;
  readonly limit: number;
  readonly host?: string | undefined;
  /** The beginning of the prefix. */
  readonly prefix?: string | undefined;
  readonly service?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly state?: MappingStatusView['state'] | undefined;
}

/** The mappings of a gateway that fit the filter, by name; `limit` at most. */
export class ListMappings extends Query<MappingView[]> {
  constructor(readonly filter: MappingFilter) {
    super();
  }
}

/** Rows read at once when a filter on the status makes some of them drop out. */
const SCAN = 1000;

@QueryHandler(ListMappings)
export class ListMappingsHandler implements IQueryHandler<ListMappings> {
  constructor(
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  async execute({ filter }: ListMappings): Promise<MappingView[]> {
    await this.queries.execute(new ReadGateway(filter.gateway));
    const rollout = await this.queries.execute(new ListMappingStatus(filter.gateway));
    const found: MappingView[] = [];
    let { after } = filter;
    for (;;) {
      const batch = await this.batch(filter, after);
      const views = batch.map((record) => toView(record, rollout));
      found.push(...views.filter((view) => filter.state === undefined || view.status.state === filter.state));
      after = views.at(-1)?.name;
      if (found.length >= filter.limit || batch.length < (filter.state === undefined ? filter.limit : SCAN))
        return found.slice(0, filter.limit);
    }
  }

  private batch(filter: MappingFilter, after: string | undefined): Promise<SubjectRecord[]> {
    const { host, service, prefix, labels } = filter;
    const equals = Object.fromEntries(
      Object.entries({ host, service }).filter((entry): entry is [string, string] => entry[1] !== undefined),
    );
    return listSubjects(this.db, {
      stream: `gateway/${filter.gateway}`,
      kind: 'mapping',
      limit: filter.state === undefined ? filter.limit : SCAN,
      ...(after === undefined ? {} : { after: mappingSubject(after) }),
      ...(Object.keys(equals).length === 0 ? {} : { equals }),
      ...(labels === undefined ? {} : { labels }),
      ...(prefix === undefined ? {} : { prefixes: { prefix } }),
    });
  }
}

/** One mapping; undefined when there is none of this name. */
export class ReadMapping extends Query<MappingView | undefined> {
  constructor(
    readonly gateway: string,
    readonly name: string,
  ) {
    super();
  }
}

@QueryHandler(ReadMapping)
export class ReadMappingHandler implements IQueryHandler<ReadMapping> {
  constructor(
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  async execute({ gateway, name }: ReadMapping): Promise<MappingView | undefined> {
    const record = await readSubject(this.db, `gateway/${gateway}`, mappingSubject(name));
    if (record.state === null) {
      await this.queries.execute(new ReadGateway(gateway)); // no such gateway, or no such mapping?
      return undefined;
    }
    return toView(record, await this.queries.execute(new ListMappingStatus(gateway, [name])));
  }
}

function toView(record: SubjectRecord, rollout: GatewayRollout): MappingView {
  const name = record.subject.slice('mapping/'.length);
  return {
    ...fromJson(name, record.state ?? {}),
    version: record.version,
    gatewayVersion: record.streamVersion,
    recordedAt: record.recordedAt,
    status: statusOf(name, record.streamVersion, rollout),
  };
}

/** What is known of a mapping that was last changed in the gateway's version `since`. */
function statusOf(name: string, since: number, rollout: GatewayRollout): MappingStatusView {
  const said = rollout.statuses.get(name);
  if (said !== undefined) return { state: said.state, reasons: [{ code: said.code, message: said.reason, since: said.since }] };
  if (rollout.provenVersion !== null && rollout.provenVersion >= since) return { state: 'live', reasons: [] };
  const message =
    rollout.provenVersion === null
      ? 'No Envoy is enrolled at this gateway.'
      : `Not every Envoy of this gateway has proven version ${since} yet.`;
  const code = rollout.provenVersion === null ? 'no_target' : 'not_proven';
  return { state: 'pending', reasons: [{ code, message, since: null }] };
}

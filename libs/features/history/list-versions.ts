import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import { ReadGateway } from '#features/gateway/list-gateways.js';
import type { Db } from '#platform/database/database.js';
import type { RecordedEvent } from '#platform/eventstore/event-store.js';
import { listVersions, readVersion, type VersionRecord } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { SubjectKinds } from './subject-kind.js';

export interface VersionFilter {
  readonly gateway: string;
  /** Only versions below this one. */
  readonly before: number | undefined;
  readonly limit: number;
  readonly actor?: string | undefined;
  readonly action?: string | undefined;
  readonly subject?: string | undefined;
  /** From this moment on. */
  readonly since?: Date | undefined;
  /** Before this moment. */
  readonly until?: Date | undefined;
}

/** The versions of a gateway, newest first. */
export class ListVersions extends Query<VersionRecord[]> {
  constructor(readonly filter: VersionFilter) {
    super();
  }
}

@QueryHandler(ListVersions)
export class ListVersionsHandler implements IQueryHandler<ListVersions> {
  constructor(
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  async execute({ filter }: ListVersions): Promise<VersionRecord[]> {
    const { gateway, limit, ...rest } = filter;
    await this.queries.execute(new ReadGateway(gateway));
    const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
    return listVersions(this.db, { stream: `gateway/${gateway}`, limit, ...given });
  }
}

/**
 * One version with its events, each with the state before it. States are in today's shape, so that before and after can be compared; `schemaVersion`
 * says in which they were recorded.
 */
export type VersionView = VersionRecord & { readonly events: readonly (RecordedEvent & { readonly before: JsonObject | null })[] };

/** One version; undefined when the gateway has none of this number. */
export class ReadVersion extends Query<VersionView | undefined> {
  constructor(
    readonly gateway: string,
    readonly version: number,
  ) {
    super();
  }
}

@QueryHandler(ReadVersion)
export class ReadVersionHandler implements IQueryHandler<ReadVersion> {
  constructor(
    private readonly kinds: SubjectKinds,
    @Inject(DB) private readonly db: Db,
  ) {}

  async execute({ gateway, version }: ReadVersion): Promise<VersionView | undefined> {
    const found = await readVersion(this.db, `gateway/${gateway}`, version);
    if (found === undefined) return undefined;
    const events = found.events.map(({ before, beforeSchemaVersion, ...event }) => ({
      ...event,
      before: this.kinds.upcast(event.subject, before, beforeSchemaVersion ?? 0),
      state: this.kinds.upcast(event.subject, event.state, event.schemaVersion),
    }));
    return { ...found, events };
  }
}

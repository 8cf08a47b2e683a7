import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import { FindKnownService } from '#features/discovery/find-known-service.js';
import type { Db } from '#platform/database/database.js';
import { readKind } from '#platform/eventstore/read-kind.js';
import { DB } from '#platform/http/tokens.js';

import { fromJson, type MappingState } from './mapping-state.js';
import { readService } from './service-reference.js';
import { isFault } from './text.js';

/** Above this many mappings nobody waits for a look at all of them: whether one shadows another is then not said. */
const MOST_COMPARED = 50;

/** What the warnings about one mapping are judged by, beside the gateway's settings. */
export interface Surroundings {
  /** The gateway's, that the mappings are of. */
  readonly version: number;
  /** All mappings of the gateway; undefined when there are too many to compare. */
  readonly mappings: readonly MappingState[] | undefined;
  /** What discovery says of the service that was asked for. */
  readonly service: { readonly name: string; readonly isKnown: boolean | undefined } | undefined;
}

/** Asked beside a write, so that its answer need not wait for a look after it. `service`: the mapping's, where it is known before. */
export class ReadSurroundings extends Query<Surroundings> {
  constructor(
    readonly gateway: string,
    readonly service?: string | undefined,
  ) {
    super();
  }
}

@QueryHandler(ReadSurroundings)
export class ReadSurroundingsHandler implements IQueryHandler<ReadSurroundings> {
  constructor(
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  async execute({ gateway, service: name }: ReadSurroundings): Promise<Surroundings> {
    const reference = name === undefined ? undefined : readService(name);
    const asksDiscovery = reference !== undefined && !isFault(reference) && reference.ipVersion === 0;
    const [{ version, subjects }, isKnown] = await Promise.all([
      readKind(this.db, `gateway/${gateway}`, 'mapping', MOST_COMPARED),
      asksDiscovery ? this.queries.execute(new FindKnownService(gateway, reference)) : undefined,
    ]);
    return {
      version,
      mappings: subjects?.map(({ subject, state }) => fromJson(subject.slice('mapping/'.length), state)),
      service: name === undefined ? undefined : { name, isKnown },
    };
  }
}

import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import type { SubjectRecord } from '#platform/eventstore/event-store.js';
import { listSubjects, readSubject } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';

import { rolloutStream } from './confirmation.js';
import { type Quarantine, quarantineSubject } from './quarantine.js';

/** A quarantine as it stands. */
export interface QuarantineView extends Quarantine {
  readonly quarantinedAt: string | null;
}

/** The quarantines of a gateway, by id; `after` is the last id of the page before. */
export class ListQuarantines extends Query<QuarantineView[]> {
  constructor(readonly filter: { readonly gateway: string; readonly after: string | undefined; readonly limit: number }) {
    super();
  }
}

@QueryHandler(ListQuarantines)
export class ListQuarantinesHandler implements IQueryHandler<ListQuarantines> {
  constructor(@Inject(DB) private readonly db: Db) {}

  execute({ filter }: ListQuarantines): Promise<QuarantineView[]> {
    return pageOf(this.db, filter);
  }
}

/** One quarantine; undefined when there is none of this id. */
export class ReadQuarantine extends Query<QuarantineView | undefined> {
  constructor(
    readonly gateway: string,
    readonly id: string,
  ) {
    super();
  }
}

@QueryHandler(ReadQuarantine)
export class ReadQuarantineHandler implements IQueryHandler<ReadQuarantine> {
  constructor(@Inject(DB) private readonly db: Db) {}

  async execute({ gateway, id }: ReadQuarantine): Promise<QuarantineView | undefined> {
    const record = await readSubject(this.db, rolloutStream(gateway), quarantineSubject(id));
    return record.state === null ? undefined : toView(record);
  }
}

const BATCH = 1_000;

/** All quarantines of a gateway: what people have set by hand, so there are few. */
export async function readQuarantines(db: Db, gateway: string): Promise<QuarantineView[]> {
  const found: QuarantineView[] = [];
  for (;;) {
    const batch = await pageOf(db, { gateway, after: found.at(-1)?.id, limit: BATCH });
    found.push(...batch);
    if (batch.length < BATCH) return found;
  }
}

async function pageOf(db: Db, filter: ListQuarantines['filter']): Promise<QuarantineView[]> {
  const { gateway, after, limit } = filter;
  const records = await listSubjects(db, {
    stream: rolloutStream(gateway),
    kind: 'quarantine',
    limit,
    ...(after === undefined ? {} : { after: quarantineSubject(after) }),
  });
  return records.map(toView);
}

function toView({ state, recordedAt }: SubjectRecord): QuarantineView {
  return { ...(state as Quarantine), quarantinedAt: recordedAt };
}

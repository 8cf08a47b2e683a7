import { type Db, sqlQuery } from '#platform/database/database.js';
import type { SubjectRecord } from '#platform/eventstore/event-store.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { rolloutStreamOf } from './promotion.js';

/** The subjects of `rollout/<gateway>` that say what is to be run, as of its `version`; 0 for a stream that has not begun. */
export async function readSwitches(
  db: Db,
  gateway: string,
): Promise<{ readonly version: number; readonly subjects: readonly SubjectRecord[] }> {
  const rows = await sqlQuery<{
    head: number;
    subject: string | null;
    version: number;
    from_version: number;
    schema_version: number;
    state: JsonObject | null;
    recorded_at: Date;
  }>(
    db,
    // '0' follows '/' in byte order, so the two bounds hold exactly the pins. Subjects that ended keep their versions, which decisions are made on.
    `select h.version as head, s.subject, s.version, s.from_version, s.schema_version, s.state, s.recorded_at
       from (select coalesce((select version from chancery.stream where stream = $1), 0) as version) h
       left join chancery.subject s on s.stream = $1 and (s.subject in ('freeze', 'hold', 'wave') or (s.subject >= 'pin/' and s.subject < 'pin0'))`,
    [rolloutStreamOf(gateway)],
  );
  const subjects = rows.flatMap(({ subject, version, from_version, schema_version, state, recorded_at }): SubjectRecord[] =>
    subject === null
      ? []
      : [{ subject, version, streamVersion: from_version, schemaVersion: schema_version, state, recordedAt: recorded_at.toISOString() }],
  );
  return { version: rows[0]?.head ?? 0, subjects };
}

import { type Db, named, sqlQuery } from '#platform/database/database.js';
import type { JsonObject } from '#platform/kernel/json.js';

/** What lives of a kind in a stream, when that is not much. */
export interface FewSubjects {
  /** Of the stream; 0 when there is none. */
  readonly version: number;
  /** Undefined: there are more than were asked for. */
  readonly subjects: readonly { readonly subject: string; readonly state: JsonObject }[] | undefined;
}

const READ_KIND = named(
  'chancery.read_kind',
  // '0' follows '/' in byte order. One more than is wanted is looked for, and then none of them is read.
  `WITH found AS MATERIALIZED (
     SELECT s.subject, s.state FROM chancery.subject s
     WHERE s.stream = $1 AND s.subject > $2 || '/' AND s.subject < $2 || '0' AND s.state IS NOT NULL ORDER BY s.subject LIMIT $3::integer + 1
   )
   SELECT (SELECT s.version FROM chancery.stream s WHERE s.stream = $1) AS version, f.count > $3::integer AS "isMore",
     CASE WHEN f.count <= $3::integer THEN (SELECT json_agg(json_build_object('subject', subject, 'state', state) ORDER BY subject) FROM found) END AS subjects
   FROM (SELECT count(*) AS count FROM found) f`,
);

/** The living subjects of a kind, by name, unless there are more than `most`; with the stream's version, in one snapshot. */
export async function readKind(db: Db, stream: string, kind: string, most: number): Promise<FewSubjects> {
  interface Row extends FewSubjects {
    readonly isMore: boolean;
  }
  const [row] = await sqlQuery<Row>(db, READ_KIND, [stream, kind, most]);
  return { version: row?.version ?? 0, subjects: row?.isMore === true ? undefined : (row?.subjects ?? []) };
}

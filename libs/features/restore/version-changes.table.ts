import type { SubjectKinds } from '#features/history/subject-kind.js';
import { type Db, sqlQuery } from '#platform/database/database.js';
import { readInPages } from '#platform/eventstore/read-in-pages.js';
import type { JsonObject } from '#platform/kernel/json.js';

import type { SubjectChange } from './restore.js';

interface ChangeRow {
  subject: string;
  state: JsonObject | null;
  schema_version: number;
  before_state: JsonObject | null;
  before_schema: number | null;
}

/** What a version of a stream made of each of its subjects, in today's shape; none when there is no such version. */
export async function readVersionChanges(db: Db, kinds: SubjectKinds, stream: string, version: number): Promise<SubjectChange[]> {
  const changes = new Map<string, SubjectChange>();
  await readInPages(
    db,
    `SELECT e.subject, e.state, e.schema_version, b.state AS before_state, b.schema_version AS before_schema
     FROM chancery.event e LEFT JOIN chancery.event b ON b.stream = e.stream AND b.subject = e.subject AND b.subject_version = e.subject_version - 1
     WHERE e.stream = $1 AND e.version = $2 ORDER BY e.position`,
    [stream, version],
    (row: ChangeRow) => {
      const { subject } = row;
      const upcast = (state: JsonObject | null, schema: number | null) =>
        state === null ? null : (kinds.of(subject)?.upcast(state, schema ?? 0) ?? state);
      const before = changes.get(subject)?.before; // a later event of the same subject: the version began before its first one
      changes.set(subject, {
        subject,
        before: before === undefined ? upcast(row.before_state, row.before_schema) : before,
        after: upcast(row.state, row.schema_version),
      });
    },
  );
  return [...changes.values()];
}

/** As many as are looked through for the version that made a member what it is. */
const MOST_LATER = 1_000;

/** What a subject became after a version, newest first. */
export async function readLaterStates(
  db: Db,
  stream: string,
  subject: string,
  version: number,
): Promise<{ version: number; state: JsonObject | null }[]> {
  return sqlQuery(
    db,
    'SELECT version, state FROM chancery.event WHERE stream = $1 AND subject = $2 AND version > $3 ORDER BY subject_version DESC LIMIT $4',
    [stream, subject, version, MOST_LATER],
  );
}

/** Who holds these claims by now, and since which version. */
export async function readClaimOwners(
  db: Db,
  stream: string,
  claims: readonly string[],
): Promise<{ claim: string; owner: string; version: number }[]> {
  return sqlQuery(
    db,
    `SELECT c.claim, c.subject AS owner, s.from_version AS version
     FROM chancery.claim c JOIN chancery.subject s ON s.stream = c.stream AND s.subject = c.subject
     WHERE c.stream = $1 AND c.claim = ANY ($2::text[])`,
    [stream, claims],
  );
}

/** The version that a command made, and what its record says beside the events; undefined when it made none. */
export async function readCommandVersion(db: Db, commandId: string): Promise<{ version: number; details: JsonObject | null } | undefined> {
  const rows = await sqlQuery<{ version: number; details: JsonObject | null }>(
    db,
    'SELECT version, details FROM chancery.version WHERE command_id = $1',
    [commandId],
  );
  return rows[0];
}

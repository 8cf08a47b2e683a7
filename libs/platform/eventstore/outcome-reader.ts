import type pg from 'pg';

import type { JsonObject } from '#platform/kernel/json.js';

import type { CommandContext, Outcome, SubjectRecord } from './command.js';

/** The version that an Idempotency-Key made earlier, with the fingerprint of its request. */
export async function readByKey(
  pool: pg.Pool,
  stream: string,
  context: CommandContext,
): Promise<{ version: number; fingerprint: string | null } | undefined> {
  const { rows } = await pool.query<{ version: number; fingerprint: string | null }>({
    name: 'chancery.read_by_key',
    text: 'SELECT version, fingerprint FROM chancery.version WHERE stream = $1 AND actor = $2 AND idempotency_key = $3',
    values: [stream, context.actor, context.idempotencyKey],
  });
  return rows[0];
}

interface Row {
  command_id: string;
  recorded_at: Date;
  details: JsonObject | null;
  position: number;
  subject: string;
  subject_version: number;
  type: string;
  schema_version: number;
  state: JsonObject | null;
  before_version: number | null;
  before_state: JsonObject | null;
  before_from: number | null;
  before_schema: number | null;
  before_at: Date | null;
}

/** What a version answered when it was made: its events, and their subjects as they were before. */
export async function readOutcome(pool: pg.Pool, stream: string, version: number): Promise<Outcome> {
  const { rows } = await pool.query<Row>({
    name: 'chancery.read_outcome',
    text: `SELECT v.command_id, v.recorded_at, v.details, e.position, e.subject, e.subject_version, e.type, e.schema_version, e.state,
                  b.subject_version AS before_version, b.state AS before_state, b.version AS before_from, b.schema_version AS before_schema, w.recorded_at AS before_at
           FROM chancery.version v
           JOIN chancery.event e ON e.stream = v.stream AND e.version = v.version
           LEFT JOIN chancery.event b ON b.stream = e.stream AND b.subject = e.subject AND b.subject_version = e.subject_version - 1
           LEFT JOIN chancery.version w ON w.stream = b.stream AND w.version = b.version
           WHERE v.stream = $1 AND v.version = $2 ORDER BY e.position`,
    values: [stream, version],
  });
  const first = rows[0];
  if (!first) throw new Error(`version ${version} of ${stream} is missing`);
  const before = new Map<string, SubjectRecord>();
  for (const row of rows) {
    if (before.has(row.subject)) continue; // a later event of the same version follows its own first
    before.set(row.subject, {
      subject: row.subject,
      version: row.before_version ?? 0,
      streamVersion: row.before_from ?? 0,
      schemaVersion: row.before_schema ?? 0,
      state: row.before_state,
      recordedAt: row.before_at?.toISOString() ?? null,
    });
  }
  return {
    version,
    commandId: first.command_id,
    recordedAt: first.recorded_at.toISOString(),
    events: rows.map((row) => ({
      subject: row.subject,
      subjectVersion: row.subject_version,
      type: row.type,
      schemaVersion: row.schema_version,
      state: row.state,
      index: row.position,
    })),
    replayed: true,
    unchanged: false,
    dryRun: false,
    basedOn: version - 1,
    details: first.details,
    before,
  };
}

import { type Db, sqlQuery, type Tx } from '#platform/database/database.js';

/** Where the trail stands. */
export interface AuditProjection {
  /** Counts the rebuilds: positions of another generation mean other rows. */
  readonly generation: number;
  /** Of the newest row; 0 while there is none. */
  readonly position: number;
}

/** A stream whose next version cannot be projected. */
export interface ParkedStream {
  readonly stream: string;
  readonly version: number;
  readonly reason: string;
}

/**
 * Projects the next versions of the log in the caller's transaction: at most about `limit`, of all streams in the order of their times (within a stream always
 * in its own), so that positions follow the clock whatever the streams. Which versions and which positions is decided here, under the lock of the one row that
 * counts them: of two writers the second waits, and then takes what the first has left.
 * @param only Just this stream, for finding the version that cannot be projected.
 * @returns how many versions became rows; 0 = the trail is complete (streams that are `passedOver` aside).
 * @throws Error when the log of a stream has a gap; whatever a version that cannot be projected makes the database say. Nothing is changed then.
 */
export async function projectAudit(
  tx: Tx,
  { limit, passedOver, only }: { readonly limit: number; readonly passedOver: readonly string[]; readonly only?: string },
): Promise<number> {
  await lockProjection(tx);
  // The log is reached by its whole keys, always: the planner cannot know how few versions the shares are, and would read all of the log for them.
  await sqlQuery(tx, "SELECT set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)", []);
  const [row] = await sqlQuery<{ projected: number; gap: string | null }>(tx, PROJECT, [limit, passedOver, only ?? null]);
  if (row?.gap != null) throw new Error(`${row.gap}: the log has a gap`);
  return row?.projected ?? 0;
}

/** The row that counts the positions, held until the transaction ends. */
async function lockProjection(tx: Tx): Promise<void> {
  await sqlQuery(tx, 'SELECT FROM chancery.audit_projection FOR UPDATE', []);
}

/**
 * `lagging` the streams with news; `candidate` the next of each, its share; `due` of a version is the latest time of its stream so far, so that a clock that was
 * set back does not tear a stream's order; `horizon` how far all shares reach: beyond it, a stream whose share was too small may have earlier ones. `subjects`
 * are what a version touches: of a refusal what its address named, of a push also its target. Most versions have one event, and are spared the sums of `many`.
 */
const PROJECT = `WITH base AS (
    SELECT position, latest_at, skew FROM chancery.audit_projection
  ), lagging AS MATERIALIZED (
    SELECT s.stream, coalesce(c.version, 0) AS cursor, s.version AS head, s.stream = 'refusals' AS of_refusals, s.stream LIKE 'deployments/%' AS of_pushes,
      CASE WHEN s.stream LIKE 'gateway/%' THEN 'configuration' WHEN s.stream LIKE 'rollout/%' THEN 'rollout' WHEN s.stream LIKE 'deployments/%' THEN 'deployment' WHEN s.stream LIKE 'certificates/%' THEN 'certificate'
           WHEN s.stream = 'access' THEN 'access' WHEN s.stream = 'refusals' THEN 'refusal' ELSE 'other' END AS category,
      CASE WHEN s.stream ~ '^(gateway|rollout|deployments|certificates)/' THEN substr(s.stream, strpos(s.stream, '/') + 1) END AS gateway
    FROM chancery.stream s LEFT JOIN chancery.audit_cursor c ON c.stream = s.stream
    WHERE s.version > coalesce(c.version, 0) AND s.stream <> ALL ($2::text[]) AND ($3::text IS NULL OR s.stream = $3)
  ), share AS (
    SELECT greatest(ceil($1::integer / greatest(count(*), 1)::numeric), least(50, $1))::integer AS versions FROM lagging
  ), candidate AS MATERIALIZED (
    SELECT v.*, l.cursor, l.head, l.of_refusals, l.of_pushes, l.category, l.gateway, max(v.recorded_at) OVER (PARTITION BY v.stream ORDER BY v.version) AS due
    FROM lagging l CROSS JOIN share CROSS JOIN LATERAL (
      SELECT v.stream, v.version, v.event_count, v.recorded_at, v.action, v.actor, v.reason, v.request_id, v.command_id, v.details FROM chancery.version v
      WHERE v.stream = l.stream AND v.version > l.cursor ORDER BY v.version LIMIT share.versions
    ) v
  ), horizon AS (
    SELECT min(reach) AS at FROM (SELECT max(due) AS reach FROM candidate GROUP BY stream HAVING max(version) < max(head)) shares
  ), taken AS MATERIALIZED (
    SELECT c.*, f.subject, f.type, f.state, f.type = 'AttemptRefused' AND c.of_refusals AS of_attempt,
      b.position + row_number() OVER (ORDER BY c.due, c.stream, c.version) AS position,
      greatest(b.latest_at, max(c.recorded_at) OVER (ORDER BY c.due, c.stream, c.version)) AS latest_at
    FROM candidate c CROSS JOIN base b LEFT JOIN LATERAL (
      SELECT e.subject, e.type, CASE WHEN c.of_refusals OR c.of_pushes THEN e.state END AS state FROM chancery.event e
      WHERE e.stream = c.stream AND e.version = c.version AND e.position = 0 LIMIT 1
    ) f ON true WHERE (SELECT at FROM horizon) IS NULL OR c.due <= (SELECT at FROM horizon)
  ), many AS MATERIALIZED (
    SELECT t.position, e.subject, min(e.position) AS place FROM taken t CROSS JOIN LATERAL (
      SELECT e.position, e.subject FROM chancery.event e WHERE e.stream = t.stream AND e.version = t.version OFFSET 0
    ) e WHERE t.event_count > 1 GROUP BY t.position, e.subject
  ), touched AS (
    SELECT position, (array_agg(subject ORDER BY place))[1:20] AS subjects, count(*) AS subject_count FROM many GROUP BY position
  ), verb AS (
    SELECT action, concat_ws(' ', action, regexp_replace(action, '([a-z])([A-Z])', '\\1 \\2', 'g')) AS verbs FROM (SELECT DISTINCT action FROM taken) t
  ), described AS MATERIALIZED (
    SELECT t.position, t.stream, t.version, t.recorded_at, t.latest_at, t.category, coalesce(t.gateway, CASE WHEN t.of_attempt THEN t.state->>'gateway' END) AS gateway,
      t.action, t.actor, t.reason, t.request_id, t.event_count,
      CASE WHEN t.of_refusals THEN 'refused' WHEN t.of_pushes AND t.type IN ('DeploymentProven', 'DeploymentFailed', 'DeploymentSuperseded', 'DeploymentRefused')
           THEN lower(substr(t.type, 11)) ELSE 'accepted' END AS result,
      CASE WHEN t.of_attempt OR t.of_pushes THEN nullif(left(t.state->>'code', 100), '') WHEN t.of_refusals THEN t.details->>'code' END AS code,
      CASE WHEN t.of_attempt THEN t.state->>'status' WHEN t.of_refusals THEN t.details->>'status' END::integer AS status,
      coalesce(CASE WHEN t.of_refusals THEN (t.details->>'attempts')::integer END, 1) AS count,
      coalesce(CASE WHEN t.of_attempt THEN (t.state->>'commandId')::uuid END, t.command_id) AS command,
      CASE WHEN t.event_count > 1 THEN s.subjects WHEN t.of_attempt THEN array_remove(ARRAY[t.state->>'subject'], NULL)
           WHEN t.of_pushes THEN array_remove(ARRAY[t.subject, 'target/' || (t.state->>'target')], NULL) ELSE ARRAY[t.subject::text] END AS subjects, s.subject_count
    FROM taken t LEFT JOIN touched s ON s.position = t.position
  ), written AS (
    INSERT INTO chancery.audit (position, stream, version, at, latest_at, category, gateway, action, actor, result, code, status, count, command_id, subjects, subject_count, words)
    SELECT position, stream, version, recorded_at, latest_at, category, gateway, action, actor, result, code, status, count, command, subjects,
      coalesce(subject_count, cardinality(subjects)),
      array_to_tsvector(chancery.audit_words(concat_ws(' ', verbs, actor, CASE WHEN octet_length(reason) > 2000 THEN left(reason, 500) ELSE reason END, code, gateway,
        array_to_string(subjects, ' '))) || coalesce(lower(nullif(request_id, '')), '-'))
    FROM described JOIN verb USING (action) ORDER BY position
  ), written_subjects AS (
    INSERT INTO chancery.audit_subject (subject, position)
    SELECT subject, position FROM many UNION ALL SELECT unnest(subjects), position FROM described WHERE event_count = 1 ORDER BY 1, 2
  ), moved AS (
    INSERT INTO chancery.audit_cursor AS c (stream, version) SELECT stream, max(version) FROM taken GROUP BY stream
    ON CONFLICT (stream) DO UPDATE SET version = excluded.version, parked_version = NULL, parked_reason = NULL, parked_at = NULL
  ), counted AS (
    UPDATE chancery.audit_projection p SET position = n.position, latest_at = n.latest_at, skew = greatest(p.skew, n.skew), changed_at = clock_timestamp()
    FROM (SELECT max(position) AS position, max(latest_at) AS latest_at, max(latest_at - recorded_at) AS skew FROM taken) n WHERE n.position IS NOT NULL
  )
  SELECT (SELECT count(*) FROM taken)::integer AS projected,
         (SELECT min(stream) FROM (SELECT stream FROM taken GROUP BY stream, cursor HAVING max(version) - cursor <> count(*)) gaps) AS gap`;

/** Says of a stream that its next version cannot be projected, and why. Its rows stay as they are. */
export async function parkAudit(tx: Tx, stream: string, reason: string): Promise<ParkedStream> {
  await lockProjection(tx);
  const rows = await sqlQuery<ParkedStream>(
    tx,
    `INSERT INTO chancery.audit_cursor AS c (stream, parked_version, parked_reason, parked_at) VALUES ($1, 1, $2, clock_timestamp())
     ON CONFLICT (stream) DO UPDATE SET parked_version = c.version + 1, parked_reason = excluded.parked_reason, parked_at = excluded.parked_at
     RETURNING stream, parked_version AS version, parked_reason AS reason`,
    [stream, reason],
  );
  const [parked] = rows;
  if (parked === undefined) throw new Error(`${stream} was not parked`);
  return parked;
}

/** The streams that are parked. */
export async function listParkedAudit(db: Db): Promise<ParkedStream[]> {
  return sqlQuery(
    db,
    'SELECT stream, parked_version AS version, parked_reason AS reason FROM chancery.audit_cursor WHERE parked_version IS NOT NULL ORDER BY stream',
    [],
  );
}

/** Forgets the trail: the projector builds it again from the first version of every stream, as the next generation. */
export async function resetAudit(tx: Tx): Promise<AuditProjection> {
  await lockProjection(tx);
  await sqlQuery(tx, 'TRUNCATE chancery.audit, chancery.audit_subject, chancery.audit_cursor', []);
  const [row] = await sqlQuery<AuditProjection>(
    tx,
    `UPDATE chancery.audit_projection SET generation = generation + 1, position = 0, latest_at = '-infinity', skew = '0', changed_at = clock_timestamp()
     RETURNING generation, position`,
    [],
  );
  if (row === undefined) throw new Error('chancery.audit_projection has lost its row');
  return row;
}

export async function readAuditProjection(db: Db): Promise<AuditProjection> {
  const [row] = await sqlQuery<AuditProjection>(db, 'SELECT generation, position FROM chancery.audit_projection', []);
  if (row === undefined) throw new Error('chancery.audit_projection has lost its row');
  return row;
}

/** How many versions of the log are not in the trail yet. */
export async function readAuditLag(db: Db): Promise<number> {
  const [row] = await sqlQuery<{ lag: number }>(
    db,
    `SELECT coalesce(sum(greatest(s.version - coalesce(c.version, 0), 0)), 0)::float8 AS lag
     FROM chancery.stream s LEFT JOIN chancery.audit_cursor c ON c.stream = s.stream`,
    [],
  );
  return row?.lag ?? 0;
}

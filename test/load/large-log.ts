import pg from 'pg';

export interface LargeLog {
  readonly stream: string;
  readonly events: number;
  /** Events per version; 1 by default, as single commands make. */
  readonly eventsPerVersion?: number;
  /** How many subjects share the events, each living at the end. 10,000 by default. */
  readonly subjects?: number;
}

/**
 * Writes a whole stream as the owner of the tables, set-based, as the append functions would have left it: versions with their chain, events, the
 * subjects' current states, closed intervals and one claim each. For measurements; a million events take a minute or two.
 * @param ownerUrl The role that owns the tables.
 */
export async function fillLargeLog(ownerUrl: string, { stream, events, eventsPerVersion = 1, subjects = 10_000 }: LargeLog): Promise<void> {
  const client = new pg.Client({ connectionString: ownerUrl, options: '-c search_path=chancery -c work_mem=256MB -c timezone=UTC' });
  await client.connect();
  try {
    for (const statement of statements(Math.trunc(events), Math.trunc(eventsPerVersion), Math.min(Math.trunc(subjects), events)))
      await client.query(statement, statement.includes('$1') ? [stream] : []);
  } finally {
    await client.end();
  }
}

/** $1 is the stream. The chain is the one thing that goes row by row. */
const statements = (events: number, eventsPerVersion: number, subjects: number) => [
  'BEGIN',
  'SELECT begin_stream($1)',
  `CREATE FUNCTION pg_temp.chain(s text, roots bytea[], counts int[], ids uuid[], ats timestamptz[])
   RETURNS TABLE (version bigint, parent bytea, hash bytea, root bytea, events int, id uuid, at timestamptz) LANGUAGE plpgsql AS $$
   DECLARE h bytea := genesis_hash(s); r record;
   BEGIN
     FOR r IN SELECT x.*, x.i AS number FROM unnest(roots, counts, ids, ats) WITH ORDINALITY AS x(root, events, id, at, i) LOOP
       version := r.number; parent := h; root := r.root; events := r.events; id := r.id; at := r.at;
       h := version_hash(h, s, r.number, r.root, r.events, r.id, 'PutMapping', 'token/bench', NULL, NULL, NULL, NULL, r.at, NULL);
       hash := h;
       RETURN NEXT;
     END LOOP;
   END $$`,
  `INSERT INTO event (stream, version, position, subject, subject_version, type, schema_version, state, digest)
   SELECT $1, i / ${eventsPerVersion} + 1, i % ${eventsPerVersion}, e.subject, e.subject_version, e.type, 1, e.state::json,
          event_digest(e.type, 1::smallint, e.subject, e.subject_version, e.state)
   FROM generate_series(0, ${events}::bigint - 1) AS i, LATERAL (
     SELECT 'mapping/m' || n AS subject, i / ${subjects} + 1 AS subject_version, CASE WHEN i < ${subjects} THEN 'MappingCreated' ELSE 'MappingUpdated' END AS type,
            '{"host":"*","name":"m' || n || '","path":null,"prefix":"/p' || n || '/","labels":{"team":"a"},"headers":{},"methods":[],"rewrite":"/","service":"svc-' || i
            || '.example:8080","timeoutMs":5000}' AS state FROM (SELECT i % ${subjects} AS n) AS n OFFSET 0) e`,
  `INSERT INTO version (stream, version, parent_hash, hash, events_root, event_count, command_id, action, actor, reason, request_id, idempotency_key, fingerprint, details, recorded_at)
   WITH root AS MATERIALIZED (
     SELECT version, sha256(string_agg(digest, ''::bytea ORDER BY position)) AS root, count(*)::int AS events, gen_random_uuid() AS id,
            timestamptz '2026-01-01 00:00:00+00' + version * interval '1 second' AS at
     FROM event WHERE stream = $1 GROUP BY version ORDER BY version
   ), numbered AS (SELECT array_agg(root ORDER BY version) AS roots, array_agg(events ORDER BY version) AS counts, array_agg(id ORDER BY version) AS ids, array_agg(at ORDER BY version) AS ats FROM root)
   SELECT $1, c.version, c.parent, c.hash, c.root, c.events, c.id, 'PutMapping', 'token/bench', NULL, NULL, NULL, NULL, NULL, c.at
   FROM numbered n, LATERAL pg_temp.chain($1, n.roots, n.counts, n.ids, n.ats) c`,
  `UPDATE stream s SET version = w.version, hash = w.hash FROM (SELECT version, hash FROM version WHERE stream = $1 ORDER BY version DESC LIMIT 1) w WHERE s.stream = $1`,
  'DROP INDEX subject_history_valid', // built at once below: row by row it takes longer than everything else
  `INSERT INTO subject_history (stream, subject, version, valid, schema_version, state, recorded_at)
   SELECT $1, q.subject, q.subject_version, int8range(q.version, q.next), 1, q.state::jsonb, w.recorded_at
   FROM (SELECT e.*, lead(e.version) OVER (PARTITION BY e.subject ORDER BY e.subject_version) AS next FROM event e WHERE e.stream = $1) q
   JOIN version w ON w.stream = $1 AND w.version = q.version WHERE q.next > q.version`,
  'CREATE INDEX subject_history_valid ON subject_history USING gist (stream, valid) WHERE NOT bulk',
  `INSERT INTO subject (stream, subject, version, from_version, schema_version, state, claims, recorded_at)
   SELECT DISTINCT ON (e.subject) $1, e.subject, e.subject_version, e.version, 1, e.state::jsonb, ARRAY['match:*:prefix:' || (e.state->>'prefix')], w.recorded_at
   FROM event e JOIN version w ON w.stream = $1 AND w.version = e.version WHERE e.stream = $1 ORDER BY e.subject, e.subject_version DESC`,
  `INSERT INTO claim (stream, claim, subject) SELECT $1, s.claims[1], s.subject FROM subject s WHERE s.stream = $1`,
  'COMMIT',
  'ANALYZE event, version, subject, subject_history, claim',
];

-- What is asked for every change is one statement each, planned once per connection.

-- As read_subjects with two arguments; where p_kind says so, a name is the beginning of a kind's names (`route-test/`), and the answer is whether any of
-- them lives. In one snapshot with the others.
CREATE FUNCTION chancery.read_subjects(p_stream text[], p_subject text[], p_kind boolean[])
RETURNS TABLE (stream_version bigint, version bigint, from_version bigint, schema_version smallint, state jsonb, recorded_at timestamptz, lives boolean)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  RETURN QUERY
  SELECT h.version, s.version, s.from_version, s.schema_version, s.state, s.recorded_at,
    CASE WHEN r.kind THEN EXISTS ( -- '0' follows '/' in byte order
      SELECT FROM chancery.subject k WHERE k.stream = r.stream AND k.subject > r.subject AND k.subject < rtrim(r.subject, '/') || '0' AND k.state IS NOT NULL
    ) END
  FROM unnest(p_stream, p_subject, p_kind) WITH ORDINALITY AS r(stream, subject, kind, i)
  LEFT JOIN LATERAL (SELECT h.version FROM chancery.stream h WHERE h.stream = r.stream LIMIT 1) h ON true
  LEFT JOIN LATERAL (SELECT s.version, s.from_version, s.schema_version, s.state, s.recorded_at FROM chancery.subject s WHERE s.stream = r.stream AND s.subject = r.subject LIMIT 1) s ON true
  ORDER BY r.i;
END
$$;

-- Takes the route table of a gateway from one version to another: `p_changed` go, `p_rows` come, the cursor moves; all or nothing, and nothing when the
-- cursor is not at p_after. Answers where the cursor was: of two writers the second waits at its row, and then finds it moved.
CREATE FUNCTION chancery.project_routes(p_gateway text, p_after bigint, p_upto bigint, p_changed text[], p_rows jsonb)
RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  at bigint;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true); -- what a crash of the server takes back is folded from the log again, with its cursor
  SELECT p.version INTO at FROM chancery.route_projection p WHERE p.gateway = p_gateway FOR UPDATE;
  IF at IS NULL THEN
    INSERT INTO chancery.route_projection (gateway) VALUES (p_gateway) ON CONFLICT DO NOTHING;
    SELECT p.version INTO at FROM chancery.route_projection p WHERE p.gateway = p_gateway FOR UPDATE;
  END IF;
  IF at <> p_after THEN
    RETURN at;
  END IF;
  -- All that changed goes first: within a batch two mappings may exchange what makes their keys.
  DELETE FROM chancery.route r WHERE r.gateway = p_gateway AND r.mapping = ANY (p_changed);
  IF p_rows IS NOT NULL THEN
    INSERT INTO chancery.route (gateway, mapping, order_key, host, host_kind, match_kind, match_value, methods, headers, precedence, service, upstream, rewrite,
      timeout_ms, labels, mapping_version, gateway_version)
    SELECT p_gateway, r.mapping, r.order_key, r.host, r.host_kind, r.match_kind, r.match_value, r.methods, r.headers, r.precedence, r.service, r.upstream, r.rewrite,
      r.timeout_ms, r.labels, r.mapping_version, r.gateway_version
    FROM jsonb_to_recordset(p_rows) AS r(mapping text, order_key text, host text, host_kind text, match_kind text, match_value text, methods text[],
      headers jsonb, precedence integer, service text, upstream text, rewrite text, timeout_ms integer, labels jsonb, mapping_version bigint, gateway_version bigint);
  END IF;
  UPDATE chancery.route_projection p
  SET version = p_upto, changed_at = clock_timestamp(), parked_version = NULL, parked_reason = NULL, parked_at = NULL
  WHERE p.gateway = p_gateway;
  RETURN at;
END
$$;

-- Projects the next versions of the log into the trail: at most about p_limit, of all streams (or of p_only) in the order of their times (within a stream
-- always in its own), so that positions follow the clock whatever the streams. Which versions and which positions is decided under the lock of the one row
-- that counts them: of two writers the second waits, and then takes what the first has left. `more`: a stream had more news than its share.
--
-- `lagging` the streams with news; `candidate` the next of each, its share; `due` of a version is the latest time of its stream so far, so that a clock that
-- was set back does not tear a stream's order; `horizon` how far all shares reach: beyond it, a stream whose share was too small may have earlier ones.
-- `subjects` are what a version touches: of a refusal what its address named, of a push also its target. Most versions have one event, and are spared the
-- sums of `many`.
--
-- The log is reached by its whole keys, always: the planner cannot know how few versions the shares are, and would read all of the log for them.
CREATE FUNCTION chancery.project_audit(p_limit integer, p_passed_over text[], p_only text, OUT projected integer, OUT more boolean)
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
  torn text;
BEGIN
  IF NOT EXISTS (
    SELECT FROM chancery.stream s LEFT JOIN chancery.audit_cursor c ON c.stream = s.stream
    WHERE s.version > coalesce(c.version, 0) AND s.stream <> ALL (p_passed_over) AND (p_only IS NULL OR s.stream = p_only)
  ) THEN
    projected := 0;
    more := false;
    RETURN; -- nothing is locked or written for a look that finds nothing
  END IF;
  PERFORM FROM chancery.audit_projection FOR UPDATE;
  WITH base AS (
    SELECT position, latest_at, skew FROM chancery.audit_projection
  ), lagging AS MATERIALIZED (
    SELECT s.stream, coalesce(c.version, 0) AS cursor, s.version AS head, s.stream = 'refusals' AS of_refusals, s.stream LIKE 'deployments/%' AS of_pushes,
      CASE WHEN s.stream LIKE 'gateway/%' THEN 'configuration' WHEN s.stream LIKE 'rollout/%' THEN 'rollout' WHEN s.stream LIKE 'deployments/%' THEN 'deployment' WHEN s.stream LIKE 'certificates/%' THEN 'certificate'
           WHEN s.stream = 'access' THEN 'access' WHEN s.stream = 'refusals' THEN 'refusal' ELSE 'other' END AS category,
      CASE WHEN s.stream ~ '^(gateway|rollout|deployments|certificates)/' THEN substr(s.stream, strpos(s.stream, '/') + 1) END AS gateway
    FROM chancery.stream s LEFT JOIN chancery.audit_cursor c ON c.stream = s.stream
    WHERE s.version > coalesce(c.version, 0) AND s.stream <> ALL (p_passed_over) AND (p_only IS NULL OR s.stream = p_only)
  ), share AS (
    SELECT greatest(ceil(p_limit / greatest(count(*), 1)::numeric), least(50, p_limit))::integer AS versions FROM lagging
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
    SELECT action, concat_ws(' ', action, regexp_replace(action, '([a-z])([A-Z])', '\1 \2', 'g')) AS verbs FROM (SELECT DISTINCT action FROM taken) t
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
  SELECT (SELECT count(*) FROM taken)::integer,
         (SELECT at FROM horizon) IS NOT NULL,
         (SELECT min(stream) FROM (SELECT stream FROM taken GROUP BY stream, cursor HAVING max(version) - cursor <> count(*)) gaps)
  INTO projected, more, torn;
  IF torn IS NOT NULL THEN
    RAISE EXCEPTION '%: the log has a gap', torn;
  END IF;
END
$$;

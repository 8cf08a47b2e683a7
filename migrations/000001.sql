-- The log: streams, versions, events, subjects, claims and references, and the functions that append to them.
--
-- Roles. The role that runs the migrations owns everything here. The processes run as `chancery_app`, which may read every table of the log and
-- call the append functions, and nothing else: it cannot update or delete a record, nor switch a trigger off. This migration creates
-- `chancery_app` without a login where it is missing and the owner may create roles; give it a login and a password
-- (`ALTER ROLE chancery_app LOGIN PASSWORD '...'`), or grant it to a login role of your own. Later migrations grant to `chancery_app` what
-- their tables need.
--
-- Hashes are over lines of text, so that an auditor can repeat them with sha256sum: see event_digest and version_hash.

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'chancery_app') THEN
    CREATE ROLE chancery_app NOLOGIN;
  END IF;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN NULL; -- another database of this server is being migrated in this moment
  WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'the role chancery_app is missing and % may not create it', current_user
      USING HINT = 'As an administrator: CREATE ROLE chancery_app LOGIN PASSWORD ''...''; then migrate again.';
END
$$;

CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA chancery;

GRANT USAGE ON SCHEMA chancery TO chancery_app;

-- The head of each stream: the only hot row. Almost empty pages and frequent vacuums keep its updates on one page.
CREATE TABLE chancery.stream (
  stream  text COLLATE "C" PRIMARY KEY,
  version bigint NOT NULL,
  hash    bytea NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- One accepted command = one version = one audit record, gapless within its stream.
CREATE TABLE chancery.version (
  stream          text COLLATE "C" NOT NULL,
  version         bigint NOT NULL,
  parent_hash     bytea NOT NULL,
  hash            bytea NOT NULL,
  events_root     bytea NOT NULL,
  event_count     integer NOT NULL,
  command_id      uuid NOT NULL,
  action          text NOT NULL,
  actor           text NOT NULL,
  reason          text,
  request_id      text,
  idempotency_key text,
  fingerprint     text,
  details         json, -- what the command's name alone does not say (a rollback's version and digest), as the bytes that the hash covers
  recorded_at     timestamptz NOT NULL,
  PRIMARY KEY (stream, version)
);
-- A command is appended once, however often it is sent: what a retry after a lost COMMIT relies on.
CREATE UNIQUE INDEX version_command ON chancery.version (command_id);
CREATE INDEX version_actor ON chancery.version (stream, actor, version);
CREATE UNIQUE INDEX version_idempotency ON chancery.version (stream, actor, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- `state` is the subject's whole new state, as the bytes that the digest covers; null = the subject ended.
CREATE TABLE chancery.event (
  stream          text COLLATE "C" NOT NULL,
  version         bigint NOT NULL,
  position        integer NOT NULL,
  subject         text COLLATE "C" NOT NULL,
  subject_version bigint NOT NULL,
  type            text NOT NULL,
  schema_version  smallint NOT NULL,
  state           json,
  digest          bytea NOT NULL,
  PRIMARY KEY (stream, version, position)
);
CREATE UNIQUE INDEX event_subject ON chancery.event (stream, subject, subject_version);

-- The current state of each subject, kept by the append itself. A subject that ended stays with a null state, so that its version goes on when
-- the name comes back.
CREATE TABLE chancery.subject (
  stream       text COLLATE "C" NOT NULL,
  subject      text COLLATE "C" NOT NULL,
  version      bigint NOT NULL,
  from_version bigint NOT NULL, -- the stream version that made this state
  schema_version smallint NOT NULL, -- of the state's shape: an older one is read through its kind's upcaster
  state        jsonb,
  claims       text[], -- its rows in chancery.claim, so that the next change finds them without an index of their own
  recorded_at  timestamptz NOT NULL,
  PRIMARY KEY (stream, subject)
) WITH (fillfactor = 85);

-- The former states, each written once, when it was superseded: the state at any version of the stream.
CREATE TABLE chancery.subject_history (
  stream      text COLLATE "C" NOT NULL,
  subject     text COLLATE "C" NOT NULL,
  version     bigint NOT NULL,
  valid       int8range NOT NULL, -- stream versions, half open
  schema_version smallint NOT NULL,
  state       jsonb NOT NULL,
  recorded_at timestamptz NOT NULL,
  PRIMARY KEY (stream, subject, version)
);
CREATE INDEX subject_history_valid ON chancery.subject_history USING gist (stream, valid);

-- What only one living subject of a stream may hold, for instance the match of a route.
CREATE TABLE chancery.claim (
  stream  text COLLATE "C" NOT NULL,
  claim   text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  PRIMARY KEY (stream, claim)
);

-- `subject` needs `target` to live: the target cannot end while the row is here.
CREATE TABLE chancery.reference (
  stream  text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  target  text COLLATE "C" NOT NULL,
  PRIMARY KEY (stream, subject, target)
);
CREATE INDEX reference_target ON chancery.reference (stream, target);

-- A version that goes back by itself unless somebody confirms it in time. Written in the append, on the database's clock; what became of it is
-- decided in the log (rollout/<gateway>), and `settled` only spares the workers to look again.
CREATE TABLE chancery.confirmation (
  stream     text COLLATE "C" NOT NULL,
  version    bigint NOT NULL,
  deadline   timestamptz NOT NULL,
  settled    text, -- confirmed, reverted, conflicted; null while it is open
  PRIMARY KEY (stream, version)
);
CREATE INDEX confirmation_open ON chancery.confirmation (deadline) WHERE settled IS NULL;

-- Append-only, for the owner as well.
CREATE FUNCTION chancery.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% on % refused: the log is append-only', TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON chancery.version FOR EACH STATEMENT EXECUTE FUNCTION chancery.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON chancery.event FOR EACH STATEMENT EXECUTE FUNCTION chancery.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON chancery.subject_history FOR EACH STATEMENT EXECUTE FUNCTION chancery.refuse_change();
CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON chancery.stream FOR EACH STATEMENT EXECUTE FUNCTION chancery.refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON chancery.subject FOR EACH STATEMENT EXECUTE FUNCTION chancery.refuse_change();

CREATE FUNCTION chancery.genesis_hash(stream text) RETURNS bytea LANGUAGE sql IMMUTABLE
RETURN sha256(convert_to('chancery' || E'\n' || stream, 'UTF8'));

CREATE FUNCTION chancery.event_digest(type text, schema_version smallint, subject text, subject_version bigint, state text) RETURNS bytea LANGUAGE sql IMMUTABLE
RETURN sha256(convert_to(type || E'\n' || schema_version::text || E'\n' || subject || E'\n' || subject_version::text || E'\n' || coalesce('=' || state, '-'), 'UTF8'));

-- The reason comes last because it alone may hold line breaks (the details are JSON in one line). Times are microseconds since 1970. (The append repeats both expressions in place of calls,
-- which cost more than the hash itself; verification, which uses the functions, would find any difference.)
CREATE FUNCTION chancery.version_hash(
  parent_hash bytea, stream text, version bigint, events_root bytea, event_count integer, command_id uuid, action text, actor text,
  request_id text, idempotency_key text, fingerprint text, details text, recorded_at timestamptz, reason text
) RETURNS bytea LANGUAGE sql IMMUTABLE
RETURN sha256(convert_to(
  encode(parent_hash, 'hex') || E'\n' || stream || E'\n' || version::text || E'\n' || encode(events_root, 'hex') || E'\n' || event_count::text || E'\n' || command_id::text
  || E'\n' || action || E'\n' || actor || E'\n' || coalesce('=' || request_id, '-') || E'\n' || coalesce('=' || idempotency_key, '-')
  || E'\n' || coalesce('=' || fingerprint, '-') || E'\n' || coalesce('=' || details, '-') || E'\n' || (extract(epoch FROM recorded_at - timestamptz '1970-01-01 00:00:00+00') * 1000000)::bigint::text || E'\n' || coalesce('=' || reason, '-'), 'UTF8'));

-- What the tables would say in CHECK constraints, which Postgres prepares anew for each statement (seen: a fifth of a single append's time). Nobody but
-- the append functions can insert. The hashes are over lines: a line break in a field other than the last would let two records have one text.
CREATE FUNCTION chancery.begin_stream(p_stream text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_stream !~ '^[a-z][a-z0-9-]*(/[^[:cntrl:]/]+)?$' OR length(p_stream) > 200 THEN
    RAISE EXCEPTION '% is not the name of a stream', quote_literal(p_stream) USING ERRCODE = 'check_violation';
  END IF;
  INSERT INTO chancery.stream VALUES (p_stream, 0, chancery.genesis_hash(p_stream)) ON CONFLICT DO NOTHING;
END
$$;

-- Appends a batch of commands to one stream in one transaction, each all or nothing, under one lock of the head. Columns come as arrays:
--   c_*  the commands, by their number from 1; c_confirm_ms: the version is undone unless it is confirmed within so many milliseconds
--   k_*  what each decision rests on: a subject and the version that was read, or null for "it must live" (a reference)
--   e_*  events; e_last marks the last event of a subject within its command; e_state null = the subject ends; e_claims its new claims as an array literal
--   n_*  claims (once more, one a row) and r_* references of the subjects written, the complete new set
-- Optional groups that nobody in the batch uses are null. All checks come before all writes, so a command that is refused leaves nothing behind
-- and needs no savepoint. Commands of a batch must not depend on each other; one that does is answered `again`, to be sent in a later batch.
-- Answers one row: the version before the batch, the time, and by command null (appended: the next version) or a refusal.
CREATE FUNCTION chancery.append(
  p_stream text, p_retry boolean,
  c_id uuid[], c_action text[], c_actor text[], c_reason text[], c_request text[], c_key text[], c_fingerprint text[], c_expected bigint[],
  c_details text[], c_confirm_ms bigint[],
  k_command integer[], k_subject text[], k_version bigint[], k_written boolean[],
  e_command integer[], e_position integer[], e_subject text[], e_version bigint[], e_type text[], e_schema smallint[], e_state text[], e_last boolean[], e_claims text[],
  n_command integer[], n_subject text[], n_claim text[],
  r_command integer[], r_subject text[], r_target text[]
) RETURNS TABLE (base_version bigint, recorded_at timestamptz, refusals jsonb[])
LANGUAGE plpgsql SECURITY DEFINER
-- The tables are reached by their whole keys, always: a plan made while a table was empty would go on scanning it when it has grown. Hence these
-- settings, and a subquery with LIMIT or = ANY wherever the planner could choose a join (seen: 35 ms instead of 0.3 for 64 commands).
SET search_path = chancery, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  n integer := cardinality(c_id);
  single_lines text := concat(p_stream, array_to_string(c_action, ''), array_to_string(c_actor, ''), array_to_string(c_request, ''), array_to_string(c_key, ''),
    array_to_string(c_fingerprint, ''), array_to_string(c_details, ''), array_to_string(e_subject, ''), array_to_string(e_type, ''));
  v bigint;
  h bytea;
  refused jsonb[] := array_fill(NULL::jsonb, ARRAY[cardinality(c_id)]);
  versions bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(c_id)]);
  r record;
  digests bytea[] := array_fill(NULL::bytea, ARRAY[cardinality(e_command)]);
  joined bytea[] := array_fill(NULL::bytea, ARRAY[cardinality(c_id)]);
  roots bytea[] := array_fill(NULL::bytea, ARRAY[cardinality(c_id)]);
  counts integer[] := array_fill(0, ARRAY[cardinality(c_id)]);
  parents bytea[] := array_fill(NULL::bytea, ARRAY[cardinality(c_id)]);
  hashes bytea[] := array_fill(NULL::bytea, ARRAY[cardinality(c_id)]);
  existed text[];
  released text[];
  micros text;
BEGIN
  IF strpos(single_lines, E'\n') > 0 THEN
    RAISE EXCEPTION 'a line break in a name, an action, an actor, an id, a key or a type' USING ERRCODE = 'check_violation';
  END IF;
  SELECT s.version, s.hash INTO v, h FROM stream s WHERE s.stream = p_stream FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM begin_stream(p_stream);
    SELECT s.version, s.hash INTO v, h FROM stream s WHERE s.stream = p_stream FOR UPDATE;
  END IF;
  base_version := v;
  recorded_at := clock_timestamp();
  micros := (extract(epoch FROM recorded_at) * 1000000)::bigint::text;

  -- Checks. The first refusal of a command stands.
  IF p_retry THEN
    FOR r IN SELECT w.command_id, w.version FROM version w WHERE w.command_id = ANY (c_id) LOOP
      refused[array_position(c_id, r.command_id)] := jsonb_build_object('code', 'committed', 'version', r.version);
    END LOOP;
  END IF;
  IF c_key IS NOT NULL THEN
    FOR r IN
      SELECT c.i, w.version, w.fingerprint = c.fingerprint AS same
      FROM unnest(c_actor, c_key, c_fingerprint) WITH ORDINALITY AS c(actor, key, fingerprint, i)
      CROSS JOIN LATERAL (SELECT w.version, w.fingerprint FROM version w WHERE w.stream = p_stream AND w.actor = c.actor AND w.idempotency_key = c.key LIMIT 1) w
    LOOP
      refused[r.i] := coalesce(refused[r.i], CASE WHEN r.same THEN jsonb_build_object('code', 'replayed', 'version', r.version) ELSE jsonb_build_object('code', 'key_reused') END);
    END LOOP;
  END IF;
  IF n > 1 THEN
    FOR r IN SELECT i FROM chancery.dependent_commands(k_command, k_subject, k_written, n_command, n_claim, c_actor, c_key, c_expected) AS i LOOP
      refused[r.i] := coalesce(refused[r.i], '{"code": "again"}');
    END LOOP;
  END IF;
  IF c_expected IS NOT NULL THEN
    FOR i IN 1..n LOOP
      IF c_expected[i] <> v THEN refused[i] := coalesce(refused[i], jsonb_build_object('code', 'stream_moved', 'version', v)); END IF;
    END LOOP;
  END IF;
  FOR r IN
    SELECT k.command, k.subject, k.version AS read, coalesce(s.version, 0) AS version
    FROM unnest(k_command, k_subject, k_version) AS k(command, subject, version)
    LEFT JOIN LATERAL (SELECT s.version, s.state IS NOT NULL AS lives FROM subject s WHERE s.stream = p_stream AND s.subject = k.subject LIMIT 1) s ON true
    WHERE CASE WHEN k.version IS NULL THEN s.lives IS NOT TRUE ELSE coalesce(s.version, 0) <> k.version END
  LOOP
    refused[r.command] := coalesce(refused[r.command], CASE WHEN r.read IS NULL THEN jsonb_build_object('code', 'reference_missing', 'subject', r.subject)
      ELSE jsonb_build_object('code', 'subject_moved', 'subject', r.subject, 'version', r.version) END);
  END LOOP;
  IF n_claim IS NOT NULL THEN
    FOR r IN
      SELECT x.command, x.claim, c.subject AS owner
      FROM unnest(n_command, n_subject, n_claim) AS x(command, subject, claim)
      CROSS JOIN LATERAL (SELECT c.subject FROM claim c WHERE c.stream = p_stream AND c.claim = x.claim LIMIT 1) c
      WHERE c.subject <> x.subject
        AND NOT EXISTS (SELECT FROM unnest(e_command, e_subject) AS e(command, subject) WHERE e.command = x.command AND e.subject = c.subject)
    LOOP
      refused[r.command] := coalesce(refused[r.command], jsonb_build_object('code', 'claim_taken', 'claim', r.claim, 'owner', r.owner));
    END LOOP;
  END IF;
  IF array_position(e_state, NULL) IS NOT NULL THEN
    FOR r IN
      SELECT e.command, e.subject, f.subject AS dependent
      FROM unnest(e_command, e_subject, e_state, e_last) AS e(command, subject, state, last)
      CROSS JOIN LATERAL (SELECT f.subject FROM reference f WHERE f.stream = p_stream AND f.target = e.subject OFFSET 0) f
      WHERE e.last AND e.state IS NULL
        AND NOT EXISTS (SELECT FROM unnest(e_command, e_subject) AS o(command, subject) WHERE o.command = e.command AND o.subject = f.subject)
    LOOP
      refused[r.command] := coalesce(refused[r.command], jsonb_build_object('code', 'referenced', 'subject', r.subject, 'by', r.dependent));
    END LOOP;
  END IF;

  FOR i IN 1..n LOOP
    IF refused[i] IS NULL THEN
      v := v + 1;
      versions[i] := v;
    END IF;
  END LOOP;
  refusals := refused;
  IF v = base_version THEN
    RETURN NEXT;
    RETURN;
  END IF;

  -- Writes. Digests and roots are computed here and not in the INSERT: a RETURNING with aggregates over it costs a single command 0.1 ms.
  FOR k IN 1..cardinality(e_command) LOOP
    digests[k] := sha256(convert_to( -- event_digest
      e_type[k] || E'\n' || e_schema[k]::text || E'\n' || e_subject[k] || E'\n' || e_version[k]::text || E'\n' || coalesce('=' || e_state[k], '-'), 'UTF8'));
    joined[e_command[k]] := coalesce(joined[e_command[k]] || digests[k], digests[k]);
    counts[e_command[k]] := counts[e_command[k]] + 1;
  END LOOP;
  FOR i IN 1..n LOOP
    IF versions[i] IS NOT NULL THEN
      parents[i] := h;
      roots[i] := sha256(joined[i]);
      h := sha256(convert_to( -- version_hash
        encode(h, 'hex') || E'\n' || p_stream || E'\n' || versions[i]::text || E'\n' || encode(roots[i], 'hex') || E'\n' || counts[i]::text || E'\n' || c_id[i]::text
        || E'\n' || c_action[i] || E'\n' || c_actor[i] || E'\n' || coalesce('=' || c_request[i], '-') || E'\n' || coalesce('=' || c_key[i], '-')
        || E'\n' || coalesce('=' || c_fingerprint[i], '-') || E'\n' || coalesce('=' || c_details[i], '-') || E'\n' || micros || E'\n' || coalesce('=' || c_reason[i], '-'), 'UTF8'));
      hashes[i] := h;
    END IF;
  END LOOP;
  INSERT INTO event (stream, version, position, subject, subject_version, type, schema_version, state, digest)
  SELECT p_stream, versions[e.command], e.position, e.subject, e.version, e.type, e.schema, e.state::json, e.digest
  FROM unnest(e_command, e_position, e_subject, e_version, e_type, e_schema, e_state, digests) AS e(command, position, subject, version, type, schema, state, digest)
  WHERE versions[e.command] IS NOT NULL;
  INSERT INTO version (stream, version, parent_hash, hash, events_root, event_count, command_id, action, actor, reason, request_id, idempotency_key, fingerprint, details, recorded_at)
  SELECT p_stream, c.version, c.parent, c.hash, c.root, c.events, c.id, c.action, c.actor, c.reason, c.request, c.key, c.fingerprint, c.details::json, append.recorded_at
  FROM unnest(versions, parents, hashes, roots, counts, c_id, c_action, c_actor, c_reason, c_request, c_key, c_fingerprint, c_details)
    AS c(version, parent, hash, root, events, id, action, actor, reason, request, key, fingerprint, details)
  WHERE c.version IS NOT NULL;
  IF c_confirm_ms IS NOT NULL THEN
    INSERT INTO confirmation (stream, version, deadline)
    SELECT p_stream, c.version, append.recorded_at + c.ms * interval '1 millisecond'
    FROM unnest(versions, c_confirm_ms) AS c(version, ms) WHERE c.version IS NOT NULL AND c.ms IS NOT NULL;
  END IF;

  -- What the subjects were until now: their closed intervals, claims and references. New subjects have none.
  SELECT array_agg(e.subject) INTO existed
  FROM unnest(e_command, e_subject, e_version) AS e(command, subject, version) WHERE e.version > 1 AND versions[e.command] IS NOT NULL;
  IF existed IS NOT NULL THEN
    INSERT INTO subject_history (stream, subject, version, valid, schema_version, state, recorded_at)
    SELECT p_stream, e.subject, s.version, int8range(s.from_version, versions[e.command]), s.schema_version, s.state, s.recorded_at
    FROM unnest(e_command, e_subject, e_last) AS e(command, subject, last)
    CROSS JOIN LATERAL (SELECT s.version, s.from_version, s.schema_version, s.state, s.recorded_at FROM subject s WHERE s.stream = p_stream AND s.subject = e.subject LIMIT 1) s
    WHERE e.last AND versions[e.command] IS NOT NULL AND s.state IS NOT NULL;
    SELECT array_agg(x.claim) INTO released FROM subject s CROSS JOIN LATERAL unnest(s.claims) AS x(claim) WHERE s.stream = p_stream AND s.subject = ANY (existed);
    IF released IS NOT NULL THEN
      DELETE FROM claim c WHERE c.stream = p_stream AND c.claim = ANY (released);
    END IF;
    DELETE FROM reference f WHERE f.stream = p_stream AND f.subject = ANY (existed);
  END IF;

  INSERT INTO subject AS s (stream, subject, version, from_version, schema_version, state, claims, recorded_at)
  SELECT p_stream, e.subject, e.version, versions[e.command], e.schema, e.state::jsonb,
         e.claims::text[], append.recorded_at
  FROM unnest(e_command, e_subject, e_version, e_schema, e_state, e_last, e_claims) AS e(command, subject, version, schema, state, last, claims)
  WHERE e.last AND versions[e.command] IS NOT NULL
  ON CONFLICT ON CONSTRAINT subject_pkey DO UPDATE SET version = excluded.version, from_version = excluded.from_version, schema_version = excluded.schema_version, state = excluded.state, claims = excluded.claims, recorded_at = excluded.recorded_at;

  IF n_claim IS NOT NULL THEN
    INSERT INTO claim (stream, claim, subject)
    SELECT p_stream, x.claim, x.subject FROM unnest(n_command, n_subject, n_claim) AS x(command, subject, claim) WHERE versions[x.command] IS NOT NULL;
  END IF;
  IF r_target IS NOT NULL THEN
    INSERT INTO reference (stream, subject, target)
    SELECT p_stream, x.subject, x.target FROM unnest(r_command, r_subject, r_target) AS x(command, subject, target) WHERE versions[x.command] IS NOT NULL;
  END IF;

  UPDATE stream s SET version = v, hash = h WHERE s.stream = p_stream;
  PERFORM pg_notify('chancery_log', p_stream);
  RETURN NEXT;
END
$$;

-- The commands of a batch that rest on what an earlier one of the same batch does: a subject that one of the two writes, a claim, an
-- idempotency key, or the stream's version as a whole.
CREATE FUNCTION chancery.dependent_commands(
  k_command integer[], k_subject text[], k_written boolean[], n_command integer[], n_claim text[], c_actor text[], c_key text[], c_expected bigint[]
) RETURNS SETOF integer LANGUAGE sql STABLE AS $$
  SELECT q.command
  FROM (
    SELECT k.command, k.written, bool_or(k.written) OVER earlier AS earlier_wrote
    FROM unnest(k_command, k_subject, k_written) AS k(command, subject, written)
    WINDOW earlier AS (PARTITION BY k.subject ORDER BY k.command ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
  ) q
  WHERE q.earlier_wrote OR (q.written AND q.earlier_wrote IS NOT NULL)
  UNION ALL
  SELECT q.command
  FROM (SELECT x.command, min(x.command) OVER (PARTITION BY x.claim) AS first FROM unnest(n_command, n_claim) AS x(command, claim)) q
  WHERE q.command <> q.first
  UNION ALL
  SELECT q.i::integer
  FROM (SELECT c.i, min(c.i) OVER (PARTITION BY c.actor, c.key) AS first FROM unnest(c_actor, c_key) WITH ORDINALITY AS c(actor, key, i) WHERE c.key IS NOT NULL AND c_key IS NOT NULL) q
  WHERE q.i <> q.first
  UNION ALL
  SELECT c.i::integer FROM unnest(c_expected) WITH ORDINALITY AS c(expected, i) WHERE c.expected IS NOT NULL AND c.i > 1
$$;

-- One command with many events (a bulk import), set-based: `stage` makes empty staging tables of this session, the caller fills them with COPY,
-- `append_staged` checks and writes them as one version. Digests are computed while staging, before the head is locked.
CREATE FUNCTION chancery.stage() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery, pg_temp SET client_min_messages = warning AS $$
BEGIN
  CREATE TEMPORARY TABLE staged_event (
    position integer NOT NULL, subject text COLLATE "C" NOT NULL, version bigint NOT NULL, type text NOT NULL, schema smallint NOT NULL, state text, last boolean NOT NULL,
    digest bytea GENERATED ALWAYS AS (event_digest(type, schema, subject, version, state)) STORED
  ) ON COMMIT DROP;
  CREATE TEMPORARY TABLE staged_read (subject text COLLATE "C" NOT NULL, version bigint) ON COMMIT DROP;
  CREATE TEMPORARY TABLE staged_claim (subject text COLLATE "C" NOT NULL, claim text COLLATE "C" NOT NULL) ON COMMIT DROP;
  CREATE TEMPORARY TABLE staged_reference (subject text COLLATE "C" NOT NULL, target text COLLATE "C" NOT NULL) ON COMMIT DROP;
  GRANT INSERT ON pg_temp.staged_event, pg_temp.staged_read, pg_temp.staged_claim, pg_temp.staged_reference TO PUBLIC; -- only this session can see them
END
$$;

CREATE FUNCTION chancery.append_staged(
  p_stream text, p_id uuid, p_action text, p_actor text, p_reason text, p_request text, p_key text, p_fingerprint text, p_expected bigint,
  p_details text, p_confirm_ms bigint
) RETURNS TABLE (base_version bigint, recorded_at timestamptz, refusal jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery, pg_temp SET work_mem = '64MB'
AS $$
DECLARE
  v bigint;
  h bytea;
  root bytea;
  events integer;
  r record;
BEGIN
  -- What we read below runs with our rights: it must be the tables that `stage` made, not something of the caller's with the same name.
  IF (SELECT count(*) FROM pg_class WHERE oid = ANY (ARRAY['pg_temp.staged_event'::regclass, 'pg_temp.staged_read'::regclass, 'pg_temp.staged_claim'::regclass, 'pg_temp.staged_reference'::regclass]::oid[])
      AND relkind = 'r' AND relowner = current_user::regrole) <> 4 THEN
    RAISE EXCEPTION 'the staging tables are not those of chancery.stage()' USING ERRCODE = 'insufficient_privilege';
  END IF;
  -- Without statistics the joins below are planned for a handful of rows, and 100,000 take minutes instead of seconds.
  ANALYZE pg_temp.staged_event, pg_temp.staged_read, pg_temp.staged_claim, pg_temp.staged_reference;
  IF strpos(concat(p_stream, p_action, p_actor, p_request, p_key, p_fingerprint, p_details), E'\n') > 0
     OR EXISTS (SELECT FROM pg_temp.staged_event e WHERE strpos(e.subject, E'\n') > 0 OR strpos(e.type, E'\n') > 0) THEN
    RAISE EXCEPTION 'a line break in a name, an action, an actor, an id, a key or a type' USING ERRCODE = 'check_violation';
  END IF;
  SELECT sha256(string_agg(e.digest, ''::bytea ORDER BY e.position)), count(*) INTO root, events FROM pg_temp.staged_event e;

  SELECT s.version, s.hash INTO v, h FROM stream s WHERE s.stream = p_stream FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM begin_stream(p_stream);
    SELECT s.version, s.hash INTO v, h FROM stream s WHERE s.stream = p_stream FOR UPDATE;
  END IF;
  base_version := v;
  recorded_at := clock_timestamp();

  SELECT jsonb_build_object('code', 'committed', 'version', w.version) INTO refusal FROM version w WHERE w.command_id = p_id;
  IF refusal IS NULL AND p_key IS NOT NULL THEN
    SELECT CASE WHEN w.fingerprint = p_fingerprint THEN jsonb_build_object('code', 'replayed', 'version', w.version) ELSE jsonb_build_object('code', 'key_reused') END INTO refusal
    FROM version w WHERE w.stream = p_stream AND w.actor = p_actor AND w.idempotency_key = p_key;
  END IF;
  IF refusal IS NULL AND p_expected <> v THEN
    refusal := jsonb_build_object('code', 'stream_moved', 'version', v);
  END IF;
  IF refusal IS NULL THEN
    SELECT CASE WHEN k.version IS NULL THEN jsonb_build_object('code', 'reference_missing', 'subject', k.subject)
           ELSE jsonb_build_object('code', 'subject_moved', 'subject', k.subject, 'version', coalesce(s.version, 0)) END INTO refusal
    FROM pg_temp.staged_read k LEFT JOIN subject s ON s.stream = p_stream AND s.subject = k.subject
    WHERE CASE WHEN k.version IS NULL THEN s.state IS NULL ELSE coalesce(s.version, 0) <> k.version END LIMIT 1;
  END IF;
  IF refusal IS NULL THEN
    SELECT jsonb_build_object('code', 'claim_taken', 'claim', x.claim, 'owner', c.subject) INTO refusal
    FROM pg_temp.staged_claim x JOIN claim c ON c.stream = p_stream AND c.claim = x.claim
    WHERE c.subject <> x.subject AND NOT EXISTS (SELECT FROM pg_temp.staged_event e WHERE e.subject = c.subject) LIMIT 1;
  END IF;
  IF refusal IS NULL THEN
    SELECT jsonb_build_object('code', 'referenced', 'subject', e.subject, 'by', f.subject) INTO refusal
    FROM pg_temp.staged_event e JOIN reference f ON f.stream = p_stream AND f.target = e.subject
    WHERE e.last AND e.state IS NULL AND NOT EXISTS (SELECT FROM pg_temp.staged_event o WHERE o.subject = f.subject) LIMIT 1;
  END IF;
  IF refusal IS NOT NULL THEN
    RETURN NEXT;
    RETURN;
  END IF;

  v := v + 1;
  INSERT INTO event SELECT p_stream, v, e.position, e.subject, e.version, e.type, e.schema, e.state::json, e.digest FROM pg_temp.staged_event e ORDER BY e.position;
  INSERT INTO version (stream, version, parent_hash, hash, events_root, event_count, command_id, action, actor, reason, request_id, idempotency_key, fingerprint, details, recorded_at)
  VALUES (p_stream, v, h, version_hash(h, p_stream, v, root, events, p_id, p_action, p_actor, p_request, p_key, p_fingerprint, p_details, append_staged.recorded_at, p_reason),
          root, events, p_id, p_action, p_actor, p_reason, p_request, p_key, p_fingerprint, p_details::json, append_staged.recorded_at)
  RETURNING hash INTO h;
  IF p_confirm_ms IS NOT NULL THEN
    INSERT INTO confirmation (stream, version, deadline) VALUES (p_stream, v, append_staged.recorded_at + p_confirm_ms * interval '1 millisecond');
  END IF;
  INSERT INTO subject_history (stream, subject, version, valid, schema_version, state, recorded_at)
  SELECT s.stream, s.subject, s.version, int8range(s.from_version, v), s.schema_version, s.state, s.recorded_at
  FROM pg_temp.staged_event e JOIN subject s ON s.stream = p_stream AND s.subject = e.subject WHERE e.last AND s.state IS NOT NULL;
  DELETE FROM claim c USING pg_temp.staged_event e, subject s, unnest(s.claims) AS released(claim)
  WHERE e.last AND e.version > 1 AND s.stream = p_stream AND s.subject = e.subject AND c.stream = p_stream AND c.claim = released.claim;
  INSERT INTO subject AS s (stream, subject, version, from_version, schema_version, state, claims, recorded_at)
  SELECT p_stream, e.subject, e.version, v, e.schema, e.state::jsonb, x.claims, append_staged.recorded_at
  FROM pg_temp.staged_event e LEFT JOIN (SELECT c.subject, array_agg(c.claim) AS claims FROM pg_temp.staged_claim c GROUP BY c.subject) x ON x.subject = e.subject
  WHERE e.last ORDER BY e.subject
  ON CONFLICT ON CONSTRAINT subject_pkey DO UPDATE SET version = excluded.version, from_version = excluded.from_version, schema_version = excluded.schema_version, state = excluded.state, claims = excluded.claims, recorded_at = excluded.recorded_at;
  INSERT INTO claim (stream, claim, subject) SELECT p_stream, x.claim, x.subject FROM pg_temp.staged_claim x ORDER BY x.claim;
  DELETE FROM reference f USING pg_temp.staged_event e WHERE e.version > 1 AND f.stream = p_stream AND f.subject = e.subject;
  INSERT INTO reference (stream, subject, target) SELECT p_stream, x.subject, x.target FROM pg_temp.staged_reference x;
  UPDATE stream s SET version = v, hash = h WHERE s.stream = p_stream;
  PERFORM pg_notify('chancery_log', p_stream);
  RETURN NEXT;
END
$$;

-- The named subjects, each with the version of its stream, in one snapshot. By number, because one call serves many readers.
CREATE FUNCTION chancery.read_subjects(p_stream text[], p_subject text[])
RETURNS TABLE (stream_version bigint, version bigint, from_version bigint, schema_version smallint, state jsonb, recorded_at timestamptz)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  RETURN QUERY
  SELECT h.version, s.version, s.from_version, s.schema_version, s.state, s.recorded_at
  FROM unnest(p_stream, p_subject) WITH ORDINALITY AS r(stream, subject, i)
  LEFT JOIN LATERAL (SELECT h.version FROM chancery.stream h WHERE h.stream = r.stream LIMIT 1) h ON true
  LEFT JOIN LATERAL (SELECT s.version, s.from_version, s.schema_version, s.state, s.recorded_at FROM chancery.subject s WHERE s.stream = r.stream AND s.subject = r.subject LIMIT 1) s ON true
  ORDER BY r.i;
END
$$;

-- The subjects that lived at a version of their stream, as they were.
CREATE FUNCTION chancery.state_at(p_stream text, p_version bigint)
RETURNS TABLE (subject text, version bigint, from_version bigint, schema_version smallint, state jsonb, recorded_at timestamptz)
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT s.subject, s.version, s.from_version, s.schema_version, s.state, s.recorded_at FROM chancery.subject s WHERE s.stream = p_stream AND s.from_version <= p_version AND s.state IS NOT NULL
  UNION ALL
  SELECT h.subject, h.version, lower(h.valid), h.schema_version, h.state, h.recorded_at FROM chancery.subject_history h WHERE h.stream = p_stream AND h.valid @> p_version;
END;

-- The first version after `p_from` (whose hash the caller has pinned) and up to `p_to` (null: all) that is not as it was written: a gap, a broken
-- chain, an altered version or event. No row = whole. Reads only, and takes no lock that a writer would notice.
CREATE FUNCTION chancery.verify_versions(p_stream text, p_from bigint, p_from_hash bytea, p_to bigint)
RETURNS TABLE (version bigint, fault text)
LANGUAGE sql STABLE SET work_mem = '64MB' SET jit = off AS $$
  WITH v AS (
    SELECT w.*, lag(w.version, 1, p_from) OVER o AS before, lag(w.hash, 1, p_from_hash) OVER o AS before_hash
    FROM chancery.version w WHERE w.stream = p_stream AND w.version > p_from AND (p_to IS NULL OR w.version <= p_to) WINDOW o AS (ORDER BY w.version)
  ), d AS ( -- each digest is computed once: OFFSET keeps the planner from repeating the expression. (Here and below the expressions of event_digest and
    -- version_hash and not calls of them: Postgres does not inline these, and a call costs four times what it computes.)
    SELECT e.version, e.position, e.digest, sha256(convert_to(
      e.type || E'\n' || e.schema_version::text || E'\n' || e.subject || E'\n' || e.subject_version::text || E'\n' || coalesce('=' || e.state::text, '-'), 'UTF8')) AS computed
    FROM chancery.event e WHERE e.stream = p_stream AND e.version > p_from AND (p_to IS NULL OR e.version <= p_to) OFFSET 0
  ), e AS (
    SELECT d.version, sha256(string_agg(d.computed, ''::bytea ORDER BY d.position)) AS root, count(*) AS events,
           bool_and(d.digest = d.computed) AND min(d.position) = 0 AND max(d.position) = count(*) - 1 AS whole
    FROM d GROUP BY d.version
  )
  SELECT coalesce(v.version, e.version) AS version, f.fault
  FROM v FULL JOIN e ON e.version = v.version CROSS JOIN LATERAL (SELECT CASE
      WHEN v.version IS NULL THEN 'events without a version'
      WHEN v.version <> v.before + 1 THEN format('gap: version %s follows %s', v.version, v.before)
      WHEN v.parent_hash IS DISTINCT FROM v.before_hash THEN 'chain: the parent hash is not the hash of the version before'
      WHEN e.root IS DISTINCT FROM v.events_root OR e.events IS DISTINCT FROM v.event_count OR NOT e.whole THEN 'events: an event was altered, removed or added'
      WHEN v.hash IS DISTINCT FROM sha256(convert_to(
        encode(v.parent_hash, 'hex') || E'\n' || v.stream || E'\n' || v.version::text || E'\n' || encode(v.events_root, 'hex') || E'\n' || v.event_count::text || E'\n' || v.command_id::text
        || E'\n' || v.action || E'\n' || v.actor || E'\n' || coalesce('=' || v.request_id, '-') || E'\n' || coalesce('=' || v.idempotency_key, '-')
        || E'\n' || coalesce('=' || v.fingerprint, '-') || E'\n' || coalesce('=' || v.details::text, '-') || E'\n' || (extract(epoch FROM v.recorded_at) * 1000000)::bigint::text
        || E'\n' || coalesce('=' || v.reason, '-'), 'UTF8')) THEN 'record: the version was altered'
      END AS fault) f
  WHERE f.fault IS NOT NULL ORDER BY 1 LIMIT 1
$$;

-- The same for all that is recorded after `p_from`, with the head: it must be the last version.
CREATE FUNCTION chancery.verify(p_stream text, p_from bigint, p_from_hash bytea)
RETURNS TABLE (version bigint, fault text)
LANGUAGE sql STABLE AS $$
  SELECT f.version, f.fault FROM (
    SELECT v.version, v.fault FROM chancery.verify_versions(p_stream, p_from, p_from_hash, NULL) v
    UNION ALL
    SELECT p_from, 'anchor: the version has another hash than the one pinned'
    WHERE p_from > 0 AND NOT EXISTS (SELECT FROM chancery.version w WHERE w.stream = p_stream AND w.version = p_from AND w.hash = p_from_hash)
    UNION ALL
    SELECT h.version, 'head: not the last version' FROM chancery.stream h
    LEFT JOIN (SELECT w.version, w.hash FROM chancery.version w WHERE w.stream = p_stream ORDER BY w.version DESC LIMIT 1) last ON true
    WHERE h.stream = p_stream AND (h.version <> coalesce(last.version, 0) OR h.hash <> coalesce(last.hash, chancery.genesis_hash(p_stream)))
  ) f ORDER BY f.version LIMIT 1
$$;

GRANT SELECT ON chancery.stream, chancery.version, chancery.event, chancery.subject, chancery.subject_history, chancery.claim, chancery.reference, chancery.confirmation TO chancery_app;
GRANT UPDATE (settled) ON chancery.confirmation TO chancery_app; -- the deadline is part of the record
REVOKE EXECUTE ON FUNCTION chancery.begin_stream, chancery.append, chancery.stage, chancery.append_staged FROM PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.append, chancery.stage, chancery.append_staged TO chancery_app;

-- The schema that the migrations make, all of them together: read this, not the history. Written by a test, never by hand and never run:
--   CHANCERY_WRITE_SCHEMA=1 npm run test:int -- schema
-- Owners are left out: the role that runs the migrations owns everything. What the queue's library makes in the schema bullmq is its own.

CREATE SCHEMA bullmq;
CREATE SCHEMA chancery;

CREATE EXTENSION btree_gist WITH SCHEMA chancery;

CREATE TABLE chancery.audit (
  "position" bigint NOT NULL,
  stream text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  at timestamp with time zone NOT NULL,
  latest_at timestamp with time zone NOT NULL,
  category text COLLATE "C" NOT NULL,
  gateway text COLLATE "C",
  action text COLLATE "C" NOT NULL,
  actor text COLLATE "C" NOT NULL,
  result text COLLATE "C" NOT NULL,
  code text COLLATE "C",
  status integer,
  count integer NOT NULL,
  command_id uuid NOT NULL,
  subjects text[] COLLATE "C" NOT NULL,
  subject_count integer NOT NULL,
  words tsvector NOT NULL,
  CONSTRAINT audit_pkey PRIMARY KEY ("position")
);
CREATE INDEX audit_action ON chancery.audit USING btree (action, ((- "position")));
CREATE INDEX audit_actor ON chancery.audit USING btree (actor, ((- "position")));
CREATE INDEX audit_category ON chancery.audit USING btree (category, ((- "position")));
CREATE INDEX audit_code ON chancery.audit USING btree (code, ((- "position"))) WHERE (code IS NOT NULL);
CREATE INDEX audit_gateway ON chancery.audit USING btree (gateway, ((- "position"))) WHERE (gateway IS NOT NULL);
CREATE INDEX audit_latest ON chancery.audit USING btree (latest_at, "position");
CREATE INDEX audit_result ON chancery.audit USING btree (result, ((- "position")));
CREATE INDEX audit_words ON chancery.audit USING gin (words);

CREATE TABLE chancery.audit_cursor (
  stream text COLLATE "C" NOT NULL,
  version bigint DEFAULT 0 NOT NULL,
  parked_version bigint,
  parked_reason text,
  parked_at timestamp with time zone,
  CONSTRAINT audit_cursor_pkey PRIMARY KEY (stream)
);

CREATE TABLE chancery.audit_projection (
  only_row boolean DEFAULT true NOT NULL,
  generation bigint DEFAULT 1 NOT NULL,
  "position" bigint DEFAULT 0 NOT NULL,
  latest_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
  skew interval DEFAULT '00:00:00'::interval NOT NULL,
  changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT audit_projection_only_row_check CHECK (only_row),
  CONSTRAINT audit_projection_pkey PRIMARY KEY (only_row)
);

CREATE TABLE chancery.audit_subject (
  subject text COLLATE "C" NOT NULL,
  "position" bigint NOT NULL,
  CONSTRAINT audit_subject_pkey PRIMARY KEY (subject, "position")
);

CREATE TABLE chancery.certificate_live (
  gateway text COLLATE "C" NOT NULL,
  certificate text COLLATE "C" NOT NULL,
  target text COLLATE "C" NOT NULL,
  fingerprint text NOT NULL,
  proven_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT certificate_live_pkey PRIMARY KEY (gateway, certificate, target)
);

CREATE TABLE chancery.certificate_status (
  gateway text NOT NULL,
  certificate text NOT NULL,
  fingerprint text NOT NULL,
  code text NOT NULL,
  reason text NOT NULL,
  since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT certificate_status_pkey PRIMARY KEY (gateway, certificate)
);

CREATE TABLE chancery.claim (
  stream text COLLATE "C" NOT NULL,
  claim text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  CONSTRAINT claim_pkey PRIMARY KEY (stream, claim)
);

CREATE TABLE chancery.confirmation (
  stream text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  deadline timestamp with time zone NOT NULL,
  settled text,
  CONSTRAINT confirmation_pkey PRIMARY KEY (stream, version)
);
CREATE INDEX confirmation_open ON chancery.confirmation USING btree (deadline) WHERE (settled IS NULL);

CREATE TABLE chancery.delivered_secret (
  secret text NOT NULL,
  sha256 text NOT NULL,
  CONSTRAINT delivered_secret_pkey PRIMARY KEY (secret)
);

CREATE TABLE chancery.deployment (
  id uuid NOT NULL,
  gateway text NOT NULL,
  target text NOT NULL,
  release text DEFAULT ''::text NOT NULL,
  version bigint NOT NULL,
  render_sha256 text DEFAULT ''::text NOT NULL,
  endpoints_sha256 text DEFAULT ''::text NOT NULL,
  trigger text NOT NULL,
  state text DEFAULT 'running'::text NOT NULL,
  code text DEFAULT ''::text NOT NULL,
  detail text DEFAULT ''::text NOT NULL,
  epoch_from integer DEFAULT '-1'::integer NOT NULL,
  epoch_to integer DEFAULT '-1'::integer NOT NULL,
  started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  finished_at timestamp with time zone,
  recorded_version bigint,
  covers_from bigint DEFAULT 0 NOT NULL,
  delivery text DEFAULT 'hot-restart'::text NOT NULL,
  CONSTRAINT deployment_delivery_check CHECK ((delivery = ANY (ARRAY['live'::text, 'hot-restart'::text]))),
  CONSTRAINT deployment_pkey PRIMARY KEY (id),
  CONSTRAINT deployment_state_check CHECK ((state = ANY (ARRAY['running'::text, 'proven'::text, 'failed'::text, 'superseded'::text, 'refused'::text])))
);
CREATE INDEX deployment_by_gateway ON chancery.deployment USING btree (gateway, id);
CREATE UNIQUE INDEX deployment_by_release ON chancery.deployment USING btree (target, release) WHERE (release <> ''::text);
CREATE INDEX deployment_by_target ON chancery.deployment USING btree (target, id);
CREATE INDEX deployment_refused ON chancery.deployment USING btree (target, id) WHERE (state = 'refused'::text);
CREATE INDEX deployment_running ON chancery.deployment USING btree (target) WHERE (state = 'running'::text);
CREATE INDEX deployment_unrecorded ON chancery.deployment USING btree (id) WHERE ((state <> 'running'::text) AND (recorded_version IS NULL));

CREATE TABLE chancery.deployment_step (
  deployment uuid NOT NULL,
  step text NOT NULL,
  report bigint NOT NULL,
  at timestamp with time zone NOT NULL,
  duration_ms integer DEFAULT 0 NOT NULL,
  detail text DEFAULT ''::text NOT NULL,
  code text DEFAULT ''::text NOT NULL,
  CONSTRAINT deployment_step_deployment_fkey FOREIGN KEY (deployment) REFERENCES chancery.deployment(id) ON DELETE CASCADE,
  CONSTRAINT deployment_step_pkey PRIMARY KEY (deployment, report)
);

CREATE TABLE chancery.desired (
  gateway text NOT NULL,
  version bigint,
  because text NOT NULL,
  wave jsonb,
  hold jsonb,
  policy text NOT NULL,
  record text NOT NULL,
  followed bigint NOT NULL,
  head bigint NOT NULL,
  CONSTRAINT desired_because_check CHECK ((because = ANY (ARRAY['immediate'::text, 'released'::text, 'frozen'::text, 'wave'::text]))),
  CONSTRAINT desired_pkey PRIMARY KEY (gateway)
);

CREATE TABLE chancery.desired_override (
  gateway text NOT NULL,
  target text NOT NULL,
  version bigint NOT NULL,
  because text NOT NULL,
  record text NOT NULL,
  CONSTRAINT desired_override_because_check CHECK ((because = ANY (ARRAY['wave'::text, 'pinned'::text]))),
  CONSTRAINT desired_override_gateway_fkey FOREIGN KEY (gateway) REFERENCES chancery.desired(gateway) ON DELETE CASCADE,
  CONSTRAINT desired_override_pkey PRIMARY KEY (gateway, target)
);

CREATE TABLE chancery.discovered_service (
  gateway text NOT NULL,
  service text NOT NULL,
  source text NOT NULL,
  endpoints jsonb DEFAULT '[]'::jsonb NOT NULL,
  error text DEFAULT ''::text NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT discovered_service_pkey PRIMARY KEY (gateway, service)
);

CREATE TABLE chancery.event (
  stream text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  "position" integer NOT NULL,
  subject text COLLATE "C" NOT NULL,
  subject_version bigint NOT NULL,
  type text NOT NULL,
  schema_version smallint NOT NULL,
  state json,
  digest bytea NOT NULL,
  CONSTRAINT event_pkey PRIMARY KEY (stream, version, "position")
);
CREATE UNIQUE INDEX event_subject ON chancery.event USING btree (stream, subject, subject_version);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON chancery.event FOR EACH STATEMENT EXECUTE FUNCTION chancery.refuse_change();

CREATE TABLE chancery.inventory (
  gateway text NOT NULL,
  version bigint NOT NULL,
  unserved text[] DEFAULT '{}'::text[] NOT NULL,
  unserved_certificates text[],
  CONSTRAINT inventory_pkey PRIMARY KEY (gateway)
);

CREATE TABLE chancery.kubernetes_secret (
  namespace text NOT NULL,
  name text NOT NULL,
  uid text NOT NULL,
  resource_version text NOT NULL,
  gateway text NOT NULL,
  certificate text NOT NULL,
  problem text DEFAULT ''::text NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT kubernetes_secret_pkey PRIMARY KEY (namespace, name)
);

CREATE TABLE chancery.kubernetes_service (
  namespace text NOT NULL,
  name text NOT NULL,
  names text[] NOT NULL,
  picture jsonb NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT kubernetes_service_pkey PRIMARY KEY (namespace, name)
);
CREATE INDEX kubernetes_service_names ON chancery.kubernetes_service USING gin (names);

CREATE TABLE chancery.lineage (
  lineage bigint NOT NULL,
  lineage_id text NOT NULL,
  reason text NOT NULL,
  actor text NOT NULL,
  raised_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT lineage_lineage_check CHECK ((lineage > 0)),
  CONSTRAINT lineage_lineage_id_key UNIQUE (lineage_id),
  CONSTRAINT lineage_pkey PRIMARY KEY (lineage)
);

CREATE TABLE chancery.mapping_status (
  gateway text NOT NULL,
  mapping text NOT NULL,
  state text NOT NULL,
  digest text NOT NULL,
  code text NOT NULL,
  reason text NOT NULL,
  dropped boolean DEFAULT false NOT NULL,
  since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT mapping_status_pkey PRIMARY KEY (gateway, mapping, state),
  CONSTRAINT mapping_status_state_check CHECK ((state = ANY (ARRAY['unresolved'::text, 'set_aside'::text])))
);

CREATE TABLE chancery.migration (
  name text NOT NULL,
  checksum text NOT NULL,
  applied_at timestamp with time zone DEFAULT now() NOT NULL,
  needs text,
  CONSTRAINT migration_pkey PRIMARY KEY (name)
);

CREATE TABLE chancery.redeployment (
  id text NOT NULL,
  gateway text NOT NULL,
  reason text NOT NULL,
  force boolean NOT NULL,
  actor text NOT NULL,
  requested_at timestamp with time zone NOT NULL,
  CONSTRAINT redeployment_pkey PRIMARY KEY (id)
);

CREATE TABLE chancery.redeployment_target (
  redeployment text NOT NULL,
  target text NOT NULL,
  deployment uuid,
  state text DEFAULT 'waiting'::text NOT NULL,
  CONSTRAINT redeployment_target_pkey PRIMARY KEY (redeployment, target),
  CONSTRAINT redeployment_target_redeployment_fkey FOREIGN KEY (redeployment) REFERENCES chancery.redeployment(id) ON DELETE CASCADE,
  CONSTRAINT redeployment_target_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'running'::text, 'proven'::text, 'failed'::text, 'superseded'::text, 'refused'::text])))
);
CREATE INDEX redeployment_target_waiting ON chancery.redeployment_target USING btree (target) WHERE (state = ANY (ARRAY['waiting'::text, 'running'::text]));

CREATE TABLE chancery.reference (
  stream text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  target text COLLATE "C" NOT NULL,
  CONSTRAINT reference_pkey PRIMARY KEY (stream, subject, target)
);
CREATE INDEX reference_target ON chancery.reference USING btree (stream, target);

CREATE TABLE chancery.rollout_cursor (
  stream text NOT NULL,
  version bigint NOT NULL,
  CONSTRAINT rollout_cursor_pkey PRIMARY KEY (stream)
);

CREATE TABLE chancery.route (
  gateway text COLLATE "C" NOT NULL,
  mapping text COLLATE "C" NOT NULL,
  order_key text COLLATE "C" NOT NULL,
  host text COLLATE "C" NOT NULL,
  host_kind text NOT NULL,
  match_kind text NOT NULL,
  match_value text COLLATE "C" NOT NULL,
  methods text[] NOT NULL,
  headers jsonb NOT NULL,
  precedence integer NOT NULL,
  service text COLLATE "C" NOT NULL,
  upstream text COLLATE "C",
  rewrite text NOT NULL,
  timeout_ms integer NOT NULL,
  labels jsonb NOT NULL,
  mapping_version bigint NOT NULL,
  gateway_version bigint NOT NULL,
  CONSTRAINT route_host_kind_check CHECK ((host_kind = ANY (ARRAY['exact'::text, 'suffix'::text, 'any'::text]))),
  CONSTRAINT route_match_kind_check CHECK ((match_kind = ANY (ARRAY['path'::text, 'prefix'::text]))),
  CONSTRAINT route_pkey PRIMARY KEY (gateway, mapping)
);
CREATE INDEX route_by_upstream ON chancery.route USING btree (gateway, upstream);
CREATE UNIQUE INDEX route_in_order ON chancery.route USING btree (gateway, order_key);

CREATE TABLE chancery.route_projection (
  gateway text COLLATE "C" NOT NULL,
  version bigint DEFAULT 0 NOT NULL,
  changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  parked_version bigint,
  parked_reason text,
  parked_at timestamp with time zone,
  CONSTRAINT route_projection_check CHECK (((parked_version IS NULL) = (parked_reason IS NULL))),
  CONSTRAINT route_projection_pkey PRIMARY KEY (gateway)
);

CREATE TABLE chancery.secret (
  id uuid NOT NULL,
  gateway text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  kek_id text COLLATE "C" NOT NULL,
  wrapped_key bytea NOT NULL,
  iv bytea NOT NULL,
  tag bytea NOT NULL,
  ciphertext bytea NOT NULL,
  open_part text NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT secret_gateway_name_version_key UNIQUE (gateway, name, version),
  CONSTRAINT secret_iv_check CHECK ((octet_length(iv) = 12)),
  CONSTRAINT secret_pkey PRIMARY KEY (id),
  CONSTRAINT secret_tag_check CHECK ((octet_length(tag) = 16))
);
CREATE INDEX secret_kek ON chancery.secret USING btree (kek_id);

CREATE TABLE chancery.session_ticket_key (
  gateway text NOT NULL,
  number bigint NOT NULL,
  secret_id uuid NOT NULL,
  secret_version bigint NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT session_ticket_key_pkey PRIMARY KEY (gateway, number)
);

CREATE TABLE chancery.stream (
  stream text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  hash bytea NOT NULL,
  CONSTRAINT stream_pkey PRIMARY KEY (stream)
) WITH (fillfactor=10, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=500);
CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON chancery.stream FOR EACH STATEMENT EXECUTE FUNCTION chancery.refuse_change();

CREATE TABLE chancery.subject (
  stream text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  from_version bigint NOT NULL,
  schema_version smallint NOT NULL,
  state jsonb,
  claims text[],
  recorded_at timestamp with time zone NOT NULL,
  CONSTRAINT subject_pkey PRIMARY KEY (stream, subject)
) WITH (fillfactor=85);
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON chancery.subject FOR EACH STATEMENT EXECUTE FUNCTION chancery.refuse_change();

CREATE TABLE chancery.subject_history (
  stream text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  valid int8range NOT NULL,
  schema_version smallint NOT NULL,
  state jsonb NOT NULL,
  recorded_at timestamp with time zone NOT NULL,
  bulk boolean DEFAULT false NOT NULL,
  CONSTRAINT subject_history_pkey PRIMARY KEY (stream, subject, version)
);
CREATE INDEX subject_history_bulk ON chancery.subject_history USING btree (stream, upper(valid), lower(valid)) WHERE bulk;
CREATE INDEX subject_history_valid ON chancery.subject_history USING gist (stream, valid) WHERE (NOT bulk);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON chancery.subject_history FOR EACH STATEMENT EXECUTE FUNCTION chancery.refuse_change();

CREATE TABLE chancery.target (
  name text NOT NULL,
  gateway text NOT NULL,
  state text DEFAULT 'enrolled'::text NOT NULL,
  worker text,
  term bigint DEFAULT 0 NOT NULL,
  sequence bigint DEFAULT 0 NOT NULL,
  lineage bigint DEFAULT 0 NOT NULL,
  read_only text,
  facts jsonb DEFAULT '{}'::jsonb NOT NULL,
  agent_state text DEFAULT 'unknown'::text NOT NULL,
  epoch integer DEFAULT '-1'::integer NOT NULL,
  envoy_pid bigint DEFAULT 0 NOT NULL,
  window_ends_at timestamp with time zone,
  applied_release text DEFAULT ''::text NOT NULL,
  applied_version bigint DEFAULT 0 NOT NULL,
  applied_render text DEFAULT ''::text NOT NULL,
  proven_release text DEFAULT ''::text NOT NULL,
  proven_version bigint DEFAULT 0 NOT NULL,
  proven_render text DEFAULT ''::text NOT NULL,
  proven_endpoints text DEFAULT ''::text NOT NULL,
  error text DEFAULT ''::text NOT NULL,
  failures integer DEFAULT 0 NOT NULL,
  failed_render text DEFAULT ''::text NOT NULL,
  failed_at timestamp with time zone,
  last_seen_at timestamp with time zone,
  enrolled_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  kind text DEFAULT 'agent'::text NOT NULL,
  delivery text DEFAULT ''::text NOT NULL,
  present_since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT target_kind_check CHECK ((kind = ANY (ARRAY['agent'::text, 'envoy'::text]))),
  CONSTRAINT target_pkey PRIMARY KEY (name),
  CONSTRAINT target_state_check CHECK ((state = ANY (ARRAY['enrolled'::text, 'away'::text, 'retired'::text])))
);
CREATE INDEX target_by_gateway ON chancery.target USING btree (gateway, name);

CREATE TABLE chancery.target_stats (
  target text NOT NULL,
  gateway text NOT NULL,
  at timestamp with time zone NOT NULL,
  mappings jsonb DEFAULT '{}'::jsonb NOT NULL,
  envoy jsonb DEFAULT '{}'::jsonb NOT NULL,
  traffic jsonb DEFAULT '[]'::jsonb NOT NULL,
  CONSTRAINT target_stats_pkey PRIMARY KEY (target)
);
CREATE INDEX target_stats_by_gateway ON chancery.target_stats USING btree (gateway);

CREATE TABLE chancery.version (
  stream text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  parent_hash bytea NOT NULL,
  hash bytea NOT NULL,
  events_root bytea NOT NULL,
  event_count integer NOT NULL,
  command_id uuid NOT NULL,
  action text NOT NULL,
  actor text NOT NULL,
  reason text,
  request_id text,
  idempotency_key text,
  fingerprint text,
  details json,
  recorded_at timestamp with time zone NOT NULL,
  CONSTRAINT version_pkey PRIMARY KEY (stream, version)
);
CREATE INDEX version_actor ON chancery.version USING btree (stream, actor, version);
CREATE UNIQUE INDEX version_command ON chancery.version USING btree (command_id);
CREATE UNIQUE INDEX version_idempotency ON chancery.version USING btree (stream, actor, idempotency_key) WHERE (idempotency_key IS NOT NULL);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON chancery.version FOR EACH STATEMENT EXECUTE FUNCTION chancery.refuse_change();

CREATE OR REPLACE FUNCTION chancery.append(p_stream text, p_retry boolean, c_id uuid[], c_action text[], c_actor text[], c_reason text[], c_request text[], c_key text[], c_fingerprint text[], c_expected bigint[], c_details text[], c_confirm_ms bigint[], k_command integer[], k_subject text[], k_version bigint[], k_written boolean[], e_command integer[], e_position integer[], e_subject text[], e_version bigint[], e_type text[], e_schema smallint[], e_state text[], e_last boolean[], e_claims text[], n_command integer[], n_subject text[], n_claim text[], r_command integer[], r_subject text[], r_target text[])
 RETURNS TABLE(base_version bigint, recorded_at timestamp with time zone, refusals jsonb[])
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'chancery', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION chancery.append_bulk(p_stream text, p_id uuid, p_action text, p_actor text, p_reason text, p_request text, p_key text, p_fingerprint text, p_expected bigint, p_details text, p_confirm_ms bigint)
 RETURNS TABLE(base_version bigint, recorded_at timestamp with time zone, refusal jsonb)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'chancery', 'pg_temp'
 SET work_mem TO '64MB'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
DECLARE
  v bigint;
  h bytea;
  root bytea;
  events integer;
  changes boolean; -- of subjects that were there
  kept integer[] := '{}'; -- the positions of events after which their subjects claim what they claimed
BEGIN
  -- What we read below runs with our rights: it must be the tables that `stage_bulk` made, not something of the caller's with the same name.
  IF (SELECT count(*) FROM pg_class WHERE oid = ANY (ARRAY['pg_temp.staged_event'::regclass, 'pg_temp.staged_read'::regclass, 'pg_temp.staged_reference'::regclass]::oid[])
      AND relkind = 'r' AND relowner = current_user::regrole) <> 3 THEN
    RAISE EXCEPTION 'the staging tables are not those of chancery.stage_bulk()' USING ERRCODE = 'insufficient_privilege';
  END IF;
  -- Of the columns that conditions are about; those of the states would cost five times as much.
  ANALYZE pg_temp.staged_event (subject, version, last);
  IF strpos(concat(p_stream, p_action, p_actor, p_request, p_key, p_fingerprint, p_details), E'\n') > 0
     OR EXISTS (SELECT FROM pg_temp.staged_event e WHERE strpos(e.subject, E'\n') > 0 OR strpos(e.type, E'\n') > 0) THEN
    RAISE EXCEPTION 'a line break in a name, an action, an actor, an id, a key or a type' USING ERRCODE = 'check_violation';
  END IF;

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
    FROM pg_temp.staged_read k
    LEFT JOIN LATERAL (SELECT s.version, s.state FROM subject s WHERE s.stream = p_stream AND s.subject = k.subject LIMIT 1) s ON true
    WHERE CASE WHEN k.version IS NULL THEN s.state IS NULL ELSE coalesce(s.version, 0) <> k.version END LIMIT 1;
  END IF;
  -- Most changes leave a subject's claims as they are: those stay where they are.
  changes := EXISTS (SELECT FROM pg_temp.staged_event e WHERE e.version > 1);
  IF refusal IS NULL AND changes THEN
    kept := ARRAY(
      SELECT e.position FROM pg_temp.staged_event e
      CROSS JOIN LATERAL (SELECT s.claims FROM subject s WHERE s.stream = p_stream AND s.subject = e.subject LIMIT 1) s
      WHERE e.last AND e.version > 1 AND s.claims IS NOT DISTINCT FROM e.claims);
  END IF;
  IF refusal IS NULL THEN
    SELECT jsonb_build_object('code', 'claim_taken', 'claim', x.claim, 'owner', c.subject) INTO refusal
    FROM (SELECT e.subject, unnest(e.claims) AS claim FROM pg_temp.staged_event e WHERE e.last AND e.position NOT IN (SELECT unnest(kept))) x
    CROSS JOIN LATERAL (SELECT c.claim, c.subject FROM claim c WHERE c.stream = p_stream AND c.claim = x.claim LIMIT 1) c
    WHERE c.subject <> x.subject AND c.subject NOT IN (SELECT e.subject FROM pg_temp.staged_event e) LIMIT 1;
  END IF;
  IF refusal IS NULL THEN
    SELECT jsonb_build_object('code', 'referenced', 'subject', e.subject, 'by', f.subject) INTO refusal
    FROM pg_temp.staged_event e
    CROSS JOIN LATERAL (SELECT f.subject FROM reference f WHERE f.stream = p_stream AND f.target = e.subject OFFSET 0) f
    WHERE e.last AND e.state IS NULL AND f.subject NOT IN (SELECT o.subject FROM pg_temp.staged_event o) LIMIT 1;
  END IF;
  IF refusal IS NOT NULL THEN
    RETURN NEXT;
    RETURN;
  END IF;

  v := v + 1;
  WITH recorded AS (
    INSERT INTO event SELECT p_stream, v, e.position, e.subject, e.version, e.type, e.schema, e.state::json, sha256(convert_to(
      e.type || E'\n' || e.schema::text || E'\n' || e.subject || E'\n' || e.version::text || E'\n' || coalesce('=' || e.state, '-'), 'UTF8'))
    FROM pg_temp.staged_event e ORDER BY e.position RETURNING position, digest
  )
  SELECT sha256(string_agg(w.digest, ''::bytea ORDER BY w.position)), count(*) INTO root, events FROM recorded w;
  INSERT INTO version (stream, version, parent_hash, hash, events_root, event_count, command_id, action, actor, reason, request_id, idempotency_key, fingerprint, details, recorded_at)
  VALUES (p_stream, v, h, version_hash(h, p_stream, v, root, events, p_id, p_action, p_actor, p_request, p_key, p_fingerprint, p_details, append_bulk.recorded_at, p_reason),
          root, events, p_id, p_action, p_actor, p_reason, p_request, p_key, p_fingerprint, p_details::json, append_bulk.recorded_at)
  RETURNING hash INTO h;
  IF p_confirm_ms IS NOT NULL THEN
    INSERT INTO confirmation (stream, version, deadline) VALUES (p_stream, v, append_bulk.recorded_at + p_confirm_ms * interval '1 millisecond');
  END IF;
  IF changes THEN
    INSERT INTO subject_history (stream, subject, version, valid, schema_version, state, recorded_at, bulk)
    SELECT s.stream, s.subject, s.version, int8range(s.from_version, v), s.schema_version, s.state, s.recorded_at, true
    FROM pg_temp.staged_event e CROSS JOIN LATERAL (SELECT s.* FROM subject s WHERE s.stream = p_stream AND s.subject = e.subject LIMIT 1) s
    WHERE e.last AND e.version > 1 AND s.state IS NOT NULL;
    DELETE FROM claim c WHERE c.stream = p_stream AND c.claim = ANY (ARRAY(
      SELECT unnest(s.claims) FROM pg_temp.staged_event e
      CROSS JOIN LATERAL (SELECT s.claims FROM subject s WHERE s.stream = p_stream AND s.subject = e.subject LIMIT 1) s
      WHERE e.last AND e.version > 1 AND e.position NOT IN (SELECT unnest(kept))));
    INSERT INTO subject AS s (stream, subject, version, from_version, schema_version, state, claims, recorded_at)
    SELECT p_stream, e.subject, e.version, v, e.schema, e.state::jsonb, e.claims, append_bulk.recorded_at
    FROM pg_temp.staged_event e WHERE e.last AND e.version > 1 ORDER BY e.subject
    ON CONFLICT ON CONSTRAINT subject_pkey DO UPDATE SET version = excluded.version, from_version = excluded.from_version, schema_version = excluded.schema_version, state = excluded.state, claims = excluded.claims, recorded_at = excluded.recorded_at;
  END IF;
  INSERT INTO claim (stream, claim, subject)
  SELECT p_stream, unnest(e.claims) AS claim, e.subject FROM pg_temp.staged_event e WHERE e.last AND e.position NOT IN (SELECT unnest(kept)) ORDER BY claim;
  -- The first version of a subject is its first row: nothing can be in its way.
  INSERT INTO subject (stream, subject, version, from_version, schema_version, state, claims, recorded_at)
  SELECT p_stream, e.subject, e.version, v, e.schema, e.state::jsonb, e.claims, append_bulk.recorded_at
  FROM pg_temp.staged_event e WHERE e.last AND e.version = 1 ORDER BY e.subject;
  IF EXISTS (SELECT FROM reference f WHERE f.stream = p_stream) THEN
    DELETE FROM reference f WHERE f.stream = p_stream AND f.subject = ANY (ARRAY(SELECT e.subject FROM pg_temp.staged_event e WHERE e.version > 1));
  END IF;
  INSERT INTO reference (stream, subject, target) SELECT p_stream, x.subject, x.target FROM pg_temp.staged_reference x;
  UPDATE stream s SET version = v, hash = h WHERE s.stream = p_stream;
  PERFORM pg_notify('chancery_log', p_stream);
  RETURN NEXT;
END
$function$;

CREATE OR REPLACE FUNCTION chancery.append_staged(p_stream text, p_id uuid, p_action text, p_actor text, p_reason text, p_request text, p_key text, p_fingerprint text, p_expected bigint, p_details text, p_confirm_ms bigint)
 RETURNS TABLE(base_version bigint, recorded_at timestamp with time zone, refusal jsonb)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'chancery', 'pg_temp'
 SET work_mem TO '64MB'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION chancery.audit_words(text text)
 RETURNS text[]
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN array_remove(regexp_split_to_array(lower((text COLLATE "C")), '[\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+'::text), ''::text);

CREATE OR REPLACE FUNCTION chancery.begin_stream(p_stream text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  IF p_stream !~ '^[a-z][a-z0-9-]*(/[^[:cntrl:]/]+)?$' OR length(p_stream) > 200 THEN
    RAISE EXCEPTION '% is not the name of a stream', quote_literal(p_stream) USING ERRCODE = 'check_violation';
  END IF;
  INSERT INTO chancery.stream VALUES (p_stream, 0, chancery.genesis_hash(p_stream)) ON CONFLICT DO NOTHING;
END
$function$;

CREATE OR REPLACE FUNCTION chancery.dependent_commands(k_command integer[], k_subject text[], k_written boolean[], n_command integer[], n_claim text[], c_actor text[], c_key text[], c_expected bigint[])
 RETURNS SETOF integer
 LANGUAGE sql
 STABLE
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION chancery.event_digest(type text, schema_version smallint, subject text, subject_version bigint, state text)
 RETURNS bytea
 LANGUAGE sql
 IMMUTABLE
RETURN sha256(convert_to(((((((((type || '
'::text) || (schema_version)::text) || '
'::text) || subject) || '
'::text) || (subject_version)::text) || '
'::text) || COALESCE(('='::text || state), '-'::text)), 'UTF8'::name));

CREATE OR REPLACE FUNCTION chancery.genesis_hash(stream text)
 RETURNS bytea
 LANGUAGE sql
 IMMUTABLE
RETURN sha256(convert_to((('chancery'::text || '
'::text) || stream), 'UTF8'::name));

CREATE OR REPLACE FUNCTION chancery.hold(p_stream text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'chancery', 'pg_temp'
AS $function$
BEGIN
  PERFORM FROM stream s WHERE s.stream = p_stream FOR UPDATE;
END
$function$;

CREATE OR REPLACE FUNCTION chancery.project_audit(p_limit integer, p_passed_over text[], p_only text, OUT projected integer, OUT more boolean)
 RETURNS record
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION chancery.project_routes(p_gateway text, p_after bigint, p_upto bigint, p_changed text[], p_rows jsonb)
 RETURNS bigint
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION chancery.read_subjects(p_stream text[], p_subject text[])
 RETURNS TABLE(stream_version bigint, version bigint, from_version bigint, schema_version smallint, state jsonb, recorded_at timestamp with time zone)
 LANGUAGE plpgsql
 STABLE
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
BEGIN
  RETURN QUERY
  SELECT h.version, s.version, s.from_version, s.schema_version, s.state, s.recorded_at
  FROM unnest(p_stream, p_subject) WITH ORDINALITY AS r(stream, subject, i)
  LEFT JOIN LATERAL (SELECT h.version FROM chancery.stream h WHERE h.stream = r.stream LIMIT 1) h ON true
  LEFT JOIN LATERAL (SELECT s.version, s.from_version, s.schema_version, s.state, s.recorded_at FROM chancery.subject s WHERE s.stream = r.stream AND s.subject = r.subject LIMIT 1) s ON true
  ORDER BY r.i;
END
$function$;

CREATE OR REPLACE FUNCTION chancery.read_subjects(p_stream text[], p_subject text[], p_kind boolean[])
 RETURNS TABLE(stream_version bigint, version bigint, from_version bigint, schema_version smallint, state jsonb, recorded_at timestamp with time zone, lives boolean)
 LANGUAGE plpgsql
 STABLE
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION chancery.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  RAISE EXCEPTION '% on % refused: the log is append-only', TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$function$;

CREATE OR REPLACE FUNCTION chancery.stage()
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'chancery', 'pg_temp'
 SET client_min_messages TO 'warning'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION chancery.stage_bulk()
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'chancery', 'pg_temp'
 SET client_min_messages TO 'warning'
AS $function$
BEGIN
  CREATE TEMPORARY TABLE staged_event (
    position integer NOT NULL, subject text COLLATE "C" NOT NULL, version bigint NOT NULL, type text NOT NULL, schema smallint NOT NULL, state text, last boolean NOT NULL,
    claims text[] COLLATE "C"
  ) ON COMMIT DROP;
  CREATE TEMPORARY TABLE staged_read (subject text COLLATE "C" NOT NULL, version bigint) ON COMMIT DROP;
  CREATE TEMPORARY TABLE staged_reference (subject text COLLATE "C" NOT NULL, target text COLLATE "C" NOT NULL) ON COMMIT DROP;
  GRANT INSERT ON pg_temp.staged_event, pg_temp.staged_read, pg_temp.staged_reference TO PUBLIC; -- only this session can see them
END
$function$;

CREATE OR REPLACE FUNCTION chancery.state_at(p_stream text, p_version bigint)
 RETURNS TABLE(subject text, version bigint, from_version bigint, schema_version smallint, state jsonb, recorded_at timestamp with time zone)
 LANGUAGE sql
 STABLE
BEGIN ATOMIC
 SELECT s.subject,
     s.version,
     s.from_version,
     s.schema_version,
     s.state,
     s.recorded_at
    FROM chancery.subject s
   WHERE ((s.stream = state_at.p_stream) AND (s.from_version <= state_at.p_version) AND (s.state IS NOT NULL))
 UNION ALL
  SELECT h.subject,
     h.version,
     lower(h.valid) AS lower,
     h.schema_version,
     h.state,
     h.recorded_at
    FROM chancery.subject_history h
   WHERE ((h.stream = state_at.p_stream) AND (NOT h.bulk) AND (h.valid @> state_at.p_version))
 UNION ALL
 ( WITH RECURSIVE ended(at) AS (
          SELECT ( SELECT upper(h_1.valid) AS upper
                    FROM chancery.subject_history h_1
                   WHERE ((h_1.stream = state_at.p_stream) AND h_1.bulk AND (upper(h_1.valid) > state_at.p_version))
                   ORDER BY (upper(h_1.valid))
                  LIMIT 1) AS upper
         UNION ALL
          SELECT ( SELECT upper(h_1.valid) AS upper
                    FROM chancery.subject_history h_1
                   WHERE ((h_1.stream = state_at.p_stream) AND h_1.bulk AND (upper(h_1.valid) > e_1.at))
                   ORDER BY (upper(h_1.valid))
                  LIMIT 1) AS upper
            FROM ended e_1
           WHERE (e_1.at IS NOT NULL)
         )
  SELECT h.subject,
     h.version,
     lower(h.valid) AS lower,
     h.schema_version,
     h.state,
     h.recorded_at
    FROM (ended e
      CROSS JOIN LATERAL ( SELECT h_1.stream,
             h_1.subject,
             h_1.version,
             h_1.valid,
             h_1.schema_version,
             h_1.state,
             h_1.recorded_at,
             h_1.bulk
            FROM chancery.subject_history h_1
           WHERE ((h_1.stream = state_at.p_stream) AND h_1.bulk AND (upper(h_1.valid) = e.at) AND (lower(h_1.valid) <= state_at.p_version))
          OFFSET 0) h));
END;

CREATE OR REPLACE FUNCTION chancery.verify(p_stream text, p_from bigint, p_from_hash bytea)
 RETURNS TABLE(version bigint, fault text)
 LANGUAGE sql
 STABLE
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION chancery.verify_versions(p_stream text, p_from bigint, p_from_hash bytea, p_to bigint)
 RETURNS TABLE(version bigint, fault text)
 LANGUAGE sql
 STABLE
 SET work_mem TO '64MB'
 SET jit TO 'off'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION chancery.version_hash(parent_hash bytea, stream text, version bigint, events_root bytea, event_count integer, command_id uuid, action text, actor text, request_id text, idempotency_key text, fingerprint text, details text, recorded_at timestamp with time zone, reason text)
 RETURNS bytea
 LANGUAGE sql
 IMMUTABLE
RETURN sha256(convert_to(((((((((((((((((((((((((((encode(parent_hash, 'hex'::text) || '
'::text) || stream) || '
'::text) || (version)::text) || '
'::text) || encode(events_root, 'hex'::text)) || '
'::text) || (event_count)::text) || '
'::text) || (command_id)::text) || '
'::text) || action) || '
'::text) || actor) || '
'::text) || COALESCE(('='::text || request_id), '-'::text)) || '
'::text) || COALESCE(('='::text || idempotency_key), '-'::text)) || '
'::text) || COALESCE(('='::text || fingerprint), '-'::text)) || '
'::text) || COALESCE(('='::text || details), '-'::text)) || '
'::text) || (((EXTRACT(epoch FROM (recorded_at - '1970-01-01 00:00:00+00'::timestamp with time zone)) * (1000000)::numeric))::bigint)::text) || '
'::text) || COALESCE(('='::text || reason), '-'::text)), 'UTF8'::name));

CREATE OR REPLACE FUNCTION chancery.version_since(p_stream text, p_time timestamp with time zone)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE STRICT
AS $function$
DECLARE
  low bigint := 1;
  high bigint := (SELECT s.version + 1 FROM chancery.stream s WHERE s.stream = p_stream);
  middle bigint;
BEGIN
  WHILE low < high LOOP
    middle := (low + high) / 2;
    IF (SELECT v.recorded_at < p_time FROM chancery.version v WHERE v.stream = p_stream AND v.version = middle) THEN
      low := middle + 1;
    ELSE
      high := middle;
    END IF;
  END LOOP;
  RETURN high;
END
$function$;

GRANT EXECUTE ON FUNCTION chancery.append(p_stream text, p_retry boolean, c_id uuid[], c_action text[], c_actor text[], c_reason text[], c_request text[], c_key text[], c_fingerprint text[], c_expected bigint[], c_details text[], c_confirm_ms bigint[], k_command integer[], k_subject text[], k_version bigint[], k_written boolean[], e_command integer[], e_position integer[], e_subject text[], e_version bigint[], e_type text[], e_schema smallint[], e_state text[], e_last boolean[], e_claims text[], n_command integer[], n_subject text[], n_claim text[], r_command integer[], r_subject text[], r_target text[]) TO chancery_app;
GRANT EXECUTE ON FUNCTION chancery.append_bulk(p_stream text, p_id uuid, p_action text, p_actor text, p_reason text, p_request text, p_key text, p_fingerprint text, p_expected bigint, p_details text, p_confirm_ms bigint) TO chancery_app;
GRANT EXECUTE ON FUNCTION chancery.append_staged(p_stream text, p_id uuid, p_action text, p_actor text, p_reason text, p_request text, p_key text, p_fingerprint text, p_expected bigint, p_details text, p_confirm_ms bigint) TO chancery_app;
GRANT EXECUTE ON FUNCTION chancery.audit_words(text text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.dependent_commands(k_command integer[], k_subject text[], k_written boolean[], n_command integer[], n_claim text[], c_actor text[], c_key text[], c_expected bigint[]) TO PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.event_digest(type text, schema_version smallint, subject text, subject_version bigint, state text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.genesis_hash(stream text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.hold(p_stream text) TO chancery_app;
GRANT EXECUTE ON FUNCTION chancery.project_audit(p_limit integer, p_passed_over text[], p_only text, OUT projected integer, OUT more boolean) TO PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.project_routes(p_gateway text, p_after bigint, p_upto bigint, p_changed text[], p_rows jsonb) TO PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.read_subjects(p_stream text[], p_subject text[]) TO PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.read_subjects(p_stream text[], p_subject text[], p_kind boolean[]) TO PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.refuse_change() TO PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.stage() TO chancery_app;
GRANT EXECUTE ON FUNCTION chancery.stage_bulk() TO chancery_app;
GRANT EXECUTE ON FUNCTION chancery.state_at(p_stream text, p_version bigint) TO PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.verify(p_stream text, p_from bigint, p_from_hash bytea) TO PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.verify_versions(p_stream text, p_from bigint, p_from_hash bytea, p_to bigint) TO PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.version_hash(parent_hash bytea, stream text, version bigint, events_root bytea, event_count integer, command_id uuid, action text, actor text, request_id text, idempotency_key text, fingerprint text, details text, recorded_at timestamp with time zone, reason text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.version_since(p_stream text, p_time timestamp with time zone) TO PUBLIC;
GRANT CREATE, USAGE ON SCHEMA bullmq TO chancery_app;
GRANT USAGE ON SCHEMA chancery TO chancery_app;
GRANT DELETE, INSERT, SELECT, TRUNCATE, UPDATE ON TABLE chancery.audit TO chancery_app;
GRANT DELETE, INSERT, SELECT, TRUNCATE, UPDATE ON TABLE chancery.audit_cursor TO chancery_app;
GRANT SELECT, UPDATE ON TABLE chancery.audit_projection TO chancery_app;
GRANT DELETE, INSERT, SELECT, TRUNCATE, UPDATE ON TABLE chancery.audit_subject TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.certificate_live TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.certificate_status TO chancery_app;
GRANT SELECT ON TABLE chancery.claim TO chancery_app;
GRANT SELECT, UPDATE (settled) ON TABLE chancery.confirmation TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.delivered_secret TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.deployment TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.deployment_step TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.desired TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.desired_override TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.discovered_service TO chancery_app;
GRANT SELECT ON TABLE chancery.event TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.inventory TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.kubernetes_secret TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.kubernetes_service TO chancery_app;
GRANT INSERT, SELECT ON TABLE chancery.lineage TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.mapping_status TO chancery_app;
GRANT SELECT ON TABLE chancery.migration TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.redeployment TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.redeployment_target TO chancery_app;
GRANT SELECT ON TABLE chancery.reference TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.rollout_cursor TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.route TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.route_projection TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE (kek_id), UPDATE (wrapped_key) ON TABLE chancery.secret TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.session_ticket_key TO chancery_app;
GRANT SELECT ON TABLE chancery.stream TO chancery_app;
GRANT SELECT ON TABLE chancery.subject TO chancery_app;
GRANT SELECT ON TABLE chancery.subject_history TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.target TO chancery_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE chancery.target_stats TO chancery_app;
GRANT SELECT ON TABLE chancery.version TO chancery_app;

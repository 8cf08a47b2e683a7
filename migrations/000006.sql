-- The trail: one row for each version of every stream, in an order of its own, to be searched and followed. Its only writer is apps/projector; it can be
-- emptied and built again from the log at any time. What the log says of a version (hash, reason, request) is read there, not copied here, except for what
-- is searched.

-- How far the trail has got: one row, whose lock makes the positions gapless. A rebuild is a new generation.
CREATE TABLE chancery.audit_projection (
  only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  generation bigint NOT NULL DEFAULT 1,
  position   bigint NOT NULL DEFAULT 0,
  latest_at  timestamptz NOT NULL DEFAULT '-infinity', -- of all rows
  skew       interval NOT NULL DEFAULT '0',            -- the most that a row's time lies before the latest time of the rows before it
  changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO chancery.audit_projection DEFAULT VALUES;

-- And by stream. A stream whose next version cannot be projected is parked there, with the reason, and the others go on.
CREATE TABLE chancery.audit_cursor (
  stream         text COLLATE "C" PRIMARY KEY,
  version        bigint NOT NULL DEFAULT 0,
  parked_version bigint,
  parked_reason  text,
  parked_at      timestamptz
);

-- The rows are filtered by equality and paged by position, so each filter has an index that ends with it: with its negative, an order that the primary key
-- does not have, or the planner would go through that and skip what does not fit (seen: 300,000 rows for a page of rare ones). Times are found through `latest_at`, which never
-- decreases with the position: since and until become bounds of the position, and go with every index.
CREATE TABLE chancery.audit (
  position      bigint PRIMARY KEY,
  stream        text COLLATE "C" NOT NULL,
  version       bigint NOT NULL,
  at            timestamptz NOT NULL,
  latest_at     timestamptz NOT NULL,
  category      text COLLATE "C" NOT NULL,
  gateway       text COLLATE "C",
  action        text COLLATE "C" NOT NULL,
  actor         text COLLATE "C" NOT NULL,
  result        text COLLATE "C" NOT NULL,
  code          text COLLATE "C",
  status        integer,
  count         integer NOT NULL,
  command_id    uuid NOT NULL,
  subjects      text[] COLLATE "C" NOT NULL, -- the first 20
  subject_count integer NOT NULL,
  words         tsvector NOT NULL
);
CREATE INDEX audit_actor ON chancery.audit (actor, (-position));
CREATE INDEX audit_action ON chancery.audit (action, (-position));
CREATE INDEX audit_result ON chancery.audit (result, (-position));
CREATE INDEX audit_category ON chancery.audit (category, (-position));
CREATE INDEX audit_gateway ON chancery.audit (gateway, (-position)) WHERE gateway IS NOT NULL;
CREATE INDEX audit_code ON chancery.audit (code, (-position)) WHERE code IS NOT NULL;
CREATE INDEX audit_latest ON chancery.audit (latest_at, position);
CREATE INDEX audit_words ON chancery.audit USING gin (words);

-- All subjects of a row.
CREATE TABLE chancery.audit_subject (
  subject  text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  PRIMARY KEY (subject, position)
);

-- The words of a text, apart by everything of ASCII that is neither letter nor digit, so that mapping/user and a-b.c are two and three; A to Z in small. It
-- does not depend on the database's locale, and sees no numbers, files and hosts in names as to_tsvector does.
CREATE FUNCTION chancery.audit_words(text text) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_remove(regexp_split_to_array(lower(text COLLATE "C"), '[\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+'), '');

GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON chancery.audit_cursor, chancery.audit, chancery.audit_subject TO chancery_app;
GRANT SELECT, UPDATE ON chancery.audit_projection TO chancery_app;

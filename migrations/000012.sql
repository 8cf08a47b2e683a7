-- Private keys at rest: each encrypted with a key of its own (AES-256-GCM), and that key with one of a file outside the database. Nothing here can be
-- read without that file. A row is written before the event that names it and is never changed, but for the key that its own key is under (a rotation).
CREATE TABLE chancery.secret (
  id          uuid PRIMARY KEY,
  gateway     text COLLATE "C" NOT NULL,
  name        text COLLATE "C" NOT NULL,
  version     bigint NOT NULL,            -- counts the secrets of one name
  kek_id      text COLLATE "C" NOT NULL,  -- of the key file
  wrapped_key bytea NOT NULL,             -- iv, encrypted key, tag
  iv          bytea NOT NULL CHECK (octet_length(iv) = 12),
  tag         bytea NOT NULL CHECK (octet_length(tag) = 16),
  ciphertext  bytea NOT NULL,
  open_part   text NOT NULL,              -- what everybody may read: a certificate's chain; authenticated with the ciphertext
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (gateway, name, version)
);
CREATE INDEX secret_kek ON chancery.secret (kek_id);

GRANT SELECT, INSERT, DELETE, UPDATE (kek_id, wrapped_key) ON chancery.secret TO chancery_app;

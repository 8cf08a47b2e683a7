-- Where certificates are live: which one (by its fingerprint) a target was last seen to serve. Status, not truth: written by the workers as targets prove it.
CREATE TABLE chancery.certificate_live (
  gateway      text COLLATE "C" NOT NULL,
  certificate  text COLLATE "C" NOT NULL,
  target       text COLLATE "C" NOT NULL,
  fingerprint  text NOT NULL,
  proven_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (gateway, certificate, target)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON chancery.certificate_live TO chancery_app;

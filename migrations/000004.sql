-- The projected route table: one row per living mapping of a gateway, in the order in which a request asks them. Its only writer is apps/projector;
-- it can be emptied and folded again from the log at any time.

-- How far each gateway's table has got. A gateway whose next event cannot be folded is parked there, with the reason, and the others go on.
CREATE TABLE chancery.route_projection (
  gateway        text COLLATE "C" PRIMARY KEY,
  version        bigint NOT NULL DEFAULT 0, -- the last version of gateway/<name> whose events are in chancery.route
  changed_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  parked_version bigint,                    -- the version that cannot be folded; null when all is well
  parked_reason  text,
  parked_at      timestamptz,
  CHECK ((parked_version IS NULL) = (parked_reason IS NULL))
);

-- `order_key` sorts, byte by byte, as the route table's total order does. A row's number in that order is counted when it is read: kept in the row,
-- one new mapping for an exact host would rewrite every row behind it, up to 100,000.
CREATE TABLE chancery.route (
  gateway         text COLLATE "C" NOT NULL,
  mapping         text COLLATE "C" NOT NULL,
  order_key       text COLLATE "C" NOT NULL,
  host            text COLLATE "C" NOT NULL,
  host_kind       text NOT NULL CHECK (host_kind IN ('exact', 'suffix', 'any')),
  match_kind      text NOT NULL CHECK (match_kind IN ('path', 'prefix')),
  match_value     text COLLATE "C" NOT NULL,
  methods         text[] NOT NULL,
  headers         jsonb NOT NULL,
  precedence      integer NOT NULL,
  service         text COLLATE "C" NOT NULL,
  upstream        text COLLATE "C",         -- the identity of the upstream; null for a service that makes no sense
  rewrite         text NOT NULL,
  timeout_ms      integer NOT NULL,
  labels          jsonb NOT NULL,
  mapping_version bigint NOT NULL,
  gateway_version bigint NOT NULL,          -- of the gateway, that made this state
  PRIMARY KEY (gateway, mapping)
);
CREATE UNIQUE INDEX route_in_order ON chancery.route (gateway, order_key);
CREATE INDEX route_by_upstream ON chancery.route (gateway, upstream);

GRANT SELECT, INSERT, UPDATE, DELETE ON chancery.route_projection, chancery.route TO chancery_app;

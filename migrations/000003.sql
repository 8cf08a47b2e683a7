-- What the rollout knows: the targets (one Envoy each), what was pushed to them, and how it went. Status, not truth: the
-- truth is the log. Terminal outcomes are copied to the streams deployments/<gateway>; everything else may be rebuilt.

-- The lineage of this database. Raised by `chancery recover` when the database was restored to the past; the highest is the current one.
create table chancery.lineage (
  lineage     bigint primary key check (lineage > 0),
  lineage_id  text not null unique,
  reason      text not null,
  actor       text not null,
  raised_at   timestamptz not null default clock_timestamp()
);
insert into chancery.lineage (lineage, lineage_id, reason, actor) values (1, gen_random_uuid()::text, 'first', 'system');

-- One row per target. Columns of the first group are written by the worker that holds the target's stream, and only with the
-- term that it got when the stream opened.
create table chancery.target (
  name              text primary key,
  gateway           text not null,
  state             text not null default 'enrolled' check (state in ('enrolled', 'away', 'retired')),
  worker            text,                              -- who holds the stream; null when nobody does
  term              bigint not null default 0,         -- raised by one UPDATE each time the agent's stream opens
  sequence          bigint not null default 0,         -- releases within the term
  lineage           bigint not null default 0,         -- the one that the newest release was sent in
  read_only         text,                              -- why nothing may be pushed here; null when it may
  facts             jsonb not null default '{}',       -- where the node listens, its versions
  agent_state       text not null default 'unknown',
  epoch             integer not null default -1,
  envoy_pid         bigint not null default 0,
  window_ends_at    timestamptz,
  applied_release   text not null default '',
  applied_version   bigint not null default 0,
  applied_render    text not null default '',
  proven_release    text not null default '',
  proven_version    bigint not null default 0,         -- the newest gateway version whose render this target has proven
  proven_render     text not null default '',
  proven_endpoints  text not null default '',          -- content hash of the endpoint files that went with it
  error             text not null default '',
  failures          integer not null default 0,        -- in a row, of the same render
  failed_render     text not null default '',
  failed_at         timestamptz,
  last_seen_at      timestamptz,
  enrolled_at       timestamptz not null default clock_timestamp()
);
create index target_by_gateway on chancery.target (gateway, name);

-- One row per push to one target, with its steps.
create table chancery.deployment (
  id             uuid primary key,                     -- version 7: later pushes sort later
  gateway        text not null,
  target         text not null,
  release        text not null default '',             -- '' until the push got its place in the fence
  version        bigint not null,
  render_sha256  text not null default '',
  endpoints_sha256 text not null default '',
  trigger        text not null,
  state          text not null default 'running' check (state in ('running', 'proven', 'failed', 'superseded', 'refused')),
  code           text not null default '',
  detail         text not null default '',
  epoch_from     integer not null default -1,
  epoch_to       integer not null default -1,
  started_at     timestamptz not null default clock_timestamp(),
  finished_at    timestamptz,
  recorded_version bigint                              -- of the stream deployments/<gateway>; null until it is recorded there
);
create index deployment_by_gateway on chancery.deployment (gateway, id);
create index deployment_by_target on chancery.deployment (target, id);
create unique index deployment_by_release on chancery.deployment (target, release) where release <> '';
create index deployment_unrecorded on chancery.deployment (id) where state <> 'running' and recorded_version is null;
create index deployment_running on chancery.deployment (target) where state = 'running';

create table chancery.deployment_step (
  deployment  uuid not null references chancery.deployment (id) on delete cascade,
  step        text not null,
  report      bigint not null,                         -- the agent's number of it; 0, -1, ... for the worker's own steps
  at          timestamptz not null,
  duration_ms integer not null default 0,
  detail      text not null default '',
  code        text not null default '',
  primary key (deployment, report)
);

-- What is to be said of a mapping beyond its configuration. Cleared when the cause goes.
create table chancery.mapping_status (
  gateway  text not null,
  mapping  text not null,
  state    text not null check (state in ('unresolved', 'set_aside')),
  digest   text not null,                              -- content hash of the mapping's state that this is about
  code     text not null,
  reason   text not null,
  dropped  boolean not null default false,             -- set aside without even a route that answers 503
  since    timestamptz not null default clock_timestamp(),
  primary key (gateway, mapping, state)
);

-- The agents' sums. `base` carries what a node counted before its folder was lost, so that totals never go back.
create table chancery.target_stats (
  target   text primary key,
  gateway  text not null,
  at       timestamptz not null,
  mappings jsonb not null default '{}',
  envoy    jsonb not null default '{}'
);
create index target_stats_by_gateway on chancery.target_stats (gateway);

create table chancery.redeployment (
  id           text primary key,
  gateway      text not null,
  reason       text not null,
  force        boolean not null,
  actor        text not null,
  requested_at timestamptz not null
);
create table chancery.redeployment_target (
  redeployment text not null references chancery.redeployment (id) on delete cascade,
  target       text not null,
  deployment   uuid,                                   -- the push that answers it; null until there is one
  state        text not null default 'waiting' check (state in ('waiting', 'running', 'proven', 'failed', 'superseded', 'refused')),
  primary key (redeployment, target)
);
create index redeployment_target_waiting on chancery.redeployment_target (target) where state in ('waiting', 'running');

-- How far the workers have followed a stream whose events become rows.
create table chancery.rollout_cursor (stream text primary key, version bigint not null);

-- What discovery found, for warnings: the endpoints in use are in the workers' memory.
create table chancery.discovered_service (
  gateway   text not null,
  service   text not null,                             -- name.namespace or host, with the port
  source    text not null,
  endpoints jsonb not null default '[]',
  error     text not null default '',
  at        timestamptz not null default clock_timestamp(),
  primary key (gateway, service)
);

-- The embedded queue keeps its tables in the schema that its library names; the library migrates them, as the application.
create schema if not exists bullmq;

grant usage, create on schema bullmq to chancery_app;
grant select, insert, update, delete on
  chancery.target, chancery.deployment, chancery.deployment_step, chancery.mapping_status, chancery.target_stats,
  chancery.redeployment, chancery.redeployment_target, chancery.rollout_cursor, chancery.discovered_service
  to chancery_app;
grant select, insert on chancery.lineage to chancery_app;

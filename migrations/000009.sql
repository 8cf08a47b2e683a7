-- Which version each target should run, as it follows from the log: written by the workers for whoever asks, and to be written again from the log at any
-- time. No row: every target runs the head. One row per gateway, so that no append has to touch a row for each target.
create table chancery.desired (
  gateway   text primary key,
  version   bigint,                                    -- null: the head
  because   text not null check (because in ('immediate', 'released', 'frozen', 'wave')),
  wave      jsonb,                                     -- the wave that counts, as the log has it
  hold      jsonb,                                     -- the push that is held back, as the log has it
  policy    text not null,                             -- the strategy of the settings
  record    text not null,
  followed  bigint not null,                           -- the version of rollout/<gateway> that this follows from
  head      bigint not null                            -- and of gateway/<gateway>
);

-- Targets that run another version than the row above says.
create table chancery.desired_override (
  gateway  text not null references chancery.desired on delete cascade,
  target   text not null,
  version  bigint not null,
  because  text not null check (because in ('wave', 'pinned')),
  record   text not null,
  primary key (gateway, target)
);

-- What a gateway's targets serve, for the question whether a push would lose too much: the mappings of a version, but for those that are not served.
create table chancery.inventory (
  gateway   text primary key,
  version   bigint not null,
  unserved  text[] not null default '{}'
);

-- Since when a target is there: enrolled, or back after it was away. It has that long to prove what a wave brings.
alter table chancery.target add column present_since timestamptz not null default clock_timestamp();

-- The last minutes of a target's answers, to compare a wave with what was before it.
alter table chancery.target_stats add column traffic jsonb not null default '[]';

create index deployment_refused on chancery.deployment (target, id) where state = 'refused';

grant select, insert, update, delete on chancery.desired, chancery.desired_override, chancery.inventory to chancery_app;

-- Targets that are delivered live, and Envoys without an agent.

-- agent: an agent of ours beside its Envoy. envoy: an Envoy that dials the worker itself: no fence, no last known good, no proof.
alter table chancery.target add column kind text not null default 'agent' check (kind in ('agent', 'envoy'));
-- How the target's Envoy gets its configuration, as it says itself: live, hot-restart; '' while it has said nothing.
alter table chancery.target add column delivery text not null default '';

-- A push may bring several versions at once. The first of them; 0 where that is not known.
alter table chancery.deployment add column covers_from bigint not null default 0;
alter table chancery.deployment add column delivery text not null default 'hot-restart' check (delivery in ('live', 'hot-restart'));

-- chancery.target.sequence: for a target that is delivered live this is the newest place in the fence that is reserved, and not the newest one used.

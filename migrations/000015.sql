-- Services of Kubernetes as the workers last saw them: what a worker goes by that starts while the API server is away, and what the API warns by. Every
-- worker writes the same; it can be emptied at any time, and is full again after the next start of a worker.
create table chancery.kubernetes_service (
  namespace text not null,
  name      text not null,
  names     text[] not null,                            -- what mappings may call it
  picture   jsonb not null,                             -- its ports with their instances
  at        timestamptz not null default clock_timestamp(),
  primary key (namespace, name)
);

create index kubernetes_service_names on chancery.kubernetes_service using gin (names);

grant select, insert, update, delete on chancery.kubernetes_service to chancery_app;

-- What became of each kubernetes.io/tls Secret that the workers watch, so that a Secret that has not changed is not recorded again after something newer.
-- Without it (it may be emptied) every Secret counts as new once. It holds nothing of a key.
create table chancery.kubernetes_secret (
  namespace        text not null,
  name             text not null,
  uid              text not null,
  resource_version text not null,                       -- the last that was dealt with
  gateway          text not null,
  certificate      text not null,
  problem          text not null default '',            -- why it is not the certificate; '' when it is
  at               timestamptz not null default clock_timestamp(),
  primary key (namespace, name)
);

grant select, insert, update, delete on chancery.kubernetes_secret to chancery_app;

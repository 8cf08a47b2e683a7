-- Certificates that the workers cannot bring to Envoys as they stand, and why. No row: nothing is to be said.
create table chancery.certificate_status (
  gateway      text not null,
  certificate  text not null,
  fingerprint  text not null,                          -- of the certificate that this is about: another one is another matter
  code         text not null,
  reason       text not null,
  since        timestamptz not null default clock_timestamp(),
  primary key (gateway, certificate)
);

-- The SHA-256 of what Envoys are given for a secret: by it a worker that cannot open the secret (its key is missing) knows that a node has it, and leaves
-- it there.
create table chancery.delivered_secret (
  secret   text primary key,                           -- the id of the secret and its name towards Envoy
  sha256   text not null
);

-- The keys of a gateway's session tickets, which are secrets of the product: where each is kept, and since when. The newest but one seals tickets.
create table chancery.session_ticket_key (
  gateway     text not null,
  number      bigint not null,
  secret_id   uuid not null,
  secret_version bigint not null,
  created_at  timestamptz not null default clock_timestamp(),
  primary key (gateway, number)
);

grant select, insert, update, delete on chancery.certificate_status, chancery.delivered_secret, chancery.session_ticket_key to chancery_app;

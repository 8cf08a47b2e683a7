-- Certificates are counted by the guard against unnamed losses too: those of the noted version that its targets do not serve. Null: a worker noted it that
-- did not count them.
alter table chancery.inventory add column unserved_certificates text[];

-- The processes say in /readyz whether the schema is the one of their release, so they may read which migrations were applied.
GRANT SELECT ON chancery.migration TO chancery_app;

-- Which migration a release must know to work on the schema after this one. Null: every release before can, as after what only adds.
ALTER TABLE chancery.migration ADD COLUMN needs text;

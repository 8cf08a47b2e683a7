import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import pg from 'pg';

import { dumpSchema } from '../../../test/support/dump-schema.js';
import { createTestDatabase } from '../../../test/support/test-database.js';
import { findMigrationsFolder } from './migrator.js';

const file = join(findMigrationsFolder(), 'schema.sql');

/** Runs `during` on a migrated database, as its owner. */
async function onFreshDatabase<T>(during: (client: pg.Client) => Promise<T>): Promise<T> {
  const database = await createTestDatabase();
  const client = new pg.Client({ connectionString: database.ownerUrl });
  await client.connect();
  try {
    return await during(client);
  } finally {
    await client.end();
    await database.drop();
  }
}

test('migrations/schema.sql is what the migrations make (CHANCERY_WRITE_SCHEMA=1 writes it)', async () => {
  const dump = await onFreshDatabase(dumpSchema);
  if (process.env.CHANCERY_WRITE_SCHEMA) writeFileSync(file, dump);
  expect(existsSync(file) ? readFileSync(file, 'utf8') : '').toBe(dump);
});

test.each([
  ['a column', 'ALTER TABLE chancery.claim ADD COLUMN note text'],
  ['a default', "ALTER TABLE chancery.target ALTER COLUMN error SET DEFAULT '-'"],
  ['an index', 'CREATE INDEX claim_by_subject ON chancery.claim (subject)'],
  ['a lost constraint', 'ALTER TABLE chancery.claim DROP CONSTRAINT claim_pkey'],
  ['a dropped trigger', 'DROP TRIGGER append_only ON chancery.event'],
  ['a storage parameter', 'ALTER TABLE chancery.claim SET (fillfactor = 50)'],
  [
    "a function's body",
    'CREATE OR REPLACE FUNCTION chancery.genesis_hash(stream text) RETURNS bytea LANGUAGE sql IMMUTABLE RETURN NULL::bytea',
  ],
  ['a right', 'GRANT DELETE ON chancery.event TO chancery_app'],
  ['a right on a column', 'GRANT UPDATE (claim) ON chancery.claim TO chancery_app'],
  ['a right for all', 'GRANT EXECUTE ON FUNCTION chancery.begin_stream TO PUBLIC'],
])('the dump shows %s', async (_, change) => {
  const [before, after] = await onFreshDatabase(async (client) => {
    const first = await dumpSchema(client);
    await client.query(change);
    return [first, await dumpSchema(client)];
  });
  expect(after).not.toBe(before);
});

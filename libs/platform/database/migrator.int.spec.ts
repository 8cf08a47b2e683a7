import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';

import { createTestDatabase, type TestDatabase } from '../../../test/support/test-database.js';
import { type Database, openDatabase, sqlQuery } from './database.js';
import { listen } from './listener.js';
import { findMigrationsFolder, migrate, readMigrations, requireSchema } from './migrator.js';

let testDatabase: TestDatabase;
let admin: Database;
const folder = mkdtempSync(join(tmpdir(), 'chancery-migrations-'));
beforeAll(async () => {
  testDatabase = await createTestDatabase();
  admin = openDatabase({ url: testDatabase.adminUrl, applicationName: 'spec' });
  for (const { name, sql } of readMigrations(findMigrationsFolder())) writeFileSync(join(folder, name), sql);
});
afterAll(async () => {
  await admin.close();
  await testDatabase.drop();
  rmSync(folder, { recursive: true });
}, 30_000);

const put = (name: string, sql: string) => writeFileSync(join(folder, name), sql);
const run = () => migrate(testDatabase.ownerUrl, { folder });

test('a database that is up to date is left alone', async () => {
  expect(await run()).toEqual({ applied: [] });
});

test('eight processes at once apply each file once', async () => {
  put('900001.sql', 'CREATE TABLE chancery.once (n int); INSERT INTO chancery.once VALUES (1);');
  put('900002.sql', 'INSERT INTO chancery.once VALUES (2);');
  const results = await Promise.all(Array.from({ length: 8 }, run));
  expect(results.flatMap(({ applied }) => applied).sort()).toEqual(['900001.sql', '900002.sql']);
  expect(await sqlQuery(admin.db, 'SELECT n FROM chancery.once ORDER BY n', [])).toEqual([{ n: 1 }, { n: 2 }]);
});

test('a file that fails leaves nothing of itself and says which and why; repaired, it runs', async () => {
  put('900003.sql', 'CREATE TABLE chancery.half (n int); SELECT 1/0;');
  await expect(run()).rejects.toMatchObject({ code: 'migration_failed', message: expect.stringMatching(/900003\.sql: division by zero/) });
  expect(await sqlQuery(admin.db, "SELECT to_regclass('chancery.half') AS half", [])).toEqual([{ half: null }]);
  put('900003.sql', 'CREATE TABLE chancery.half (n int);');
  expect(await run()).toEqual({ applied: ['900003.sql'] });
});

test('an edited and a late migration are refused', async () => {
  put('900002.sql', 'INSERT INTO chancery.once VALUES (3);');
  await expect(run()).rejects.toMatchObject({ code: 'migration_changed' });
  put('900002.sql', 'INSERT INTO chancery.once VALUES (2);');
  put('900000.sql', 'SELECT 1;');
  await expect(run()).rejects.toMatchObject({ code: 'migration_out_of_order' });
  rmSync(join(folder, '900000.sql'));
});

test('a release goes on with the schema of a newer one, unless that needs what it does not know', async () => {
  await expect(requireSchema(admin.db)).resolves.toBeUndefined(); // ours know nothing of 900001 to 900003
  put('900004.sql', '-- needs 900003\nDROP TABLE chancery.half;');
  expect(await run()).toEqual({ applied: ['900004.sql'] });
  rmSync(join(folder, '900004.sql'));
  expect(await run()).toEqual({ applied: [] }); // of the release before: it knows 900003
  await expect(requireSchema(admin.db)).rejects.toMatchObject({ code: 'database_newer', message: expect.stringMatching(/900004\.sql/) });
  rmSync(join(folder, '900003.sql'));
  await expect(run()).rejects.toMatchObject({ code: 'database_newer' });
});

test('what was applied and is neither ours nor newer is another history', async () => {
  rmSync(join(folder, '900001.sql'));
  await expect(run()).rejects.toMatchObject({ code: 'database_newer', message: expect.stringMatching(/900001\.sql/) });
  put('900001.sql', 'CREATE TABLE chancery.once (n int); INSERT INTO chancery.once VALUES (1);');
  put('900003.sql', 'CREATE TABLE chancery.half (n int);');
  put('900004.sql', '-- needs 900003\nDROP TABLE chancery.half;');
  expect(await run()).toEqual({ applied: [] });
});

test('a migration whose table is in use lets everybody by and comes later', async () => {
  const [holder, other] = [new pg.Client(testDatabase.adminUrl), new pg.Client(testDatabase.adminUrl)];
  await Promise.all([holder.connect(), other.connect()]);
  try {
    await holder.query('BEGIN; SELECT n FROM chancery.once');
    put('900005.sql', 'ALTER TABLE chancery.once ADD COLUMN note text;');
    const warnings: string[] = [];
    const log = { info: () => undefined, warn: (_: object, message: string) => warnings.push(message), error: () => undefined };
    const migrating = migrate(testDatabase.ownerUrl, { folder, log });
    await other.query("SET lock_timeout = '2s'"); // as every process has it
    while (warnings.length === 0) await other.query('SELECT n FROM chancery.once');
    await holder.query('COMMIT');
    expect(await migrating).toEqual({ applied: ['900005.sql'] });
  } finally {
    await Promise.all([holder.end(), other.end()]);
  }
});

test('a listener whose connection is cut listens again and says so', async () => {
  let connected = 0;
  const heard: string[] = [];
  const listener = listen({
    url: testDatabase.url,
    channels: ['chancery_log', 'chancery_look'],
    onNotify: (channel, payload) => heard.push(`${channel} ${payload}`),
    onReconnect: () => {
      connected += 1;
    },
  });
  const until = async (condition: () => boolean) => {
    const end = performance.now() + 10_000;
    while (!condition()) {
      if (performance.now() > end) throw new Error(`not in time: ${condition}`);
      await new Promise((done) => setTimeout(done, 5));
    }
  };
  try {
    await until(() => connected === 1);
    await sqlQuery(admin.db, "SELECT pg_notify('chancery_look', 'edge')", []);
    await until(() => heard.length === 1);
    await sqlQuery(
      admin.db,
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'chancery-listen' AND datname = current_database()",
      [],
    );
    await until(() => connected === 2);
    await sqlQuery(admin.db, "SELECT pg_notify('chancery_log', 'gateway/a')", []);
    await until(() => heard.length === 2);
    expect(heard).toEqual(['chancery_look edge', 'chancery_log gateway/a']);
  } finally {
    await listener.close();
  }
});

test('an idle connection that is cut does not end the process; the pool replaces it', async () => {
  const database = openDatabase({ url: testDatabase.url, applicationName: 'spec-idle' });
  const [mine] = await sqlQuery<{ pid: number }>(database.db, 'SELECT pg_backend_pid() AS pid', []);
  await sqlQuery(admin.db, 'SELECT pg_terminate_backend($1)', [mine!.pid]);
  const end = performance.now() + 5_000;
  for (;;) {
    const [next] = await sqlQuery<{ pid: number }>(database.db, 'SELECT pg_backend_pid() AS pid', []).catch(() => [undefined]);
    if (next && next.pid !== mine!.pid) break;
    if (performance.now() > end) throw new Error('no new connection');
  }
  await database.close();
});

test('closing ends every connection, also when only the pool was asked', async () => {
  const database = openDatabase({ url: testDatabase.url, applicationName: 'spec-closed' });
  await database.pool.query('SELECT 1');
  await database.close();
  expect([database.pool.ended, database.pool.totalCount]).toEqual([true, 0]);
});

test('sessions have their limits', async () => {
  const database = openDatabase({ url: testDatabase.url, applicationName: 'spec' });
  const rows = await sqlQuery<{ name: string; setting: string }>(
    database.db,
    "SELECT name, setting FROM pg_settings WHERE name IN ('lock_timeout', 'statement_timeout', 'idle_in_transaction_session_timeout') ORDER BY name",
    [],
  );
  expect(rows.map(({ setting }) => Number(setting))).toEqual([5_000, 2_000, 15_000]);
  await database.close();
});

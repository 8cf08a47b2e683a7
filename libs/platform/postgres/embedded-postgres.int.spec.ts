import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import pg from 'pg';

import { type EmbeddedPostgres, startPostgres } from './embedded-postgres.js';
import { isAlive } from './postmaster.js';

const dataDir = mkdtempSync(join(tmpdir(), 'chancery-postgres-spec-'));
let server: EmbeddedPostgres | undefined;

afterAll(async () => {
  await server?.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

async function ask(url: string, text: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return Object.values((await client.query(text)).rows[0] ?? {})[0];
  } finally {
    await client.end();
  }
}

test('starts, is adopted by a second start, recovers after a kill -9, and stops', async () => {
  server = await startPostgres({ dataDir });
  expect(await ask(server.ownerUrl, 'SELECT current_user::text')).toBe('chancery_owner');
  expect(await ask(server.url, 'SELECT current_user::text')).toBe('chancery_app');
  expect(await ask(server.ownerUrl, 'SHOW fsync')).toBe('on');
  expect(await ask(server.ownerUrl, 'SHOW listen_addresses')).toBe('127.0.0.1');
  expect(statSync(join(dataDir, 'credentials.json')).mode & 0o777).toBe(0o600);
  await ask(server.ownerUrl, 'CREATE TABLE kept AS SELECT 7 AS n');

  const again = await startPostgres({ dataDir });
  expect(again).toMatchObject({ adopted: true, pid: server.pid, port: server.port });

  process.kill(server.pid, 'SIGKILL');
  server = await startPostgres({ dataDir });
  expect(server.adopted).toBe(false);
  expect(await ask(server.ownerUrl, 'SELECT n FROM kept')).toBe(7);

  await server.stop();
  expect(isAlive(server.pid)).toBe(false);
}, 60_000);

test('refuses a wrong password', async () => {
  server = await startPostgres({ dataDir });
  const wrong = new URL(server.url);
  wrong.password = 'wrong';
  await expect(ask(wrong.href, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
}, 60_000);

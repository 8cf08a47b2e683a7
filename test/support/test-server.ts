import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';

import { migrate } from '#platform/database/migrator.js';
import { startPostgres } from '#platform/postgres/embedded-postgres.js';

export const TEMPLATE = 'chancery_template';

/**
 * One Postgres for the run, one migrated template database in it: each test file clones the template (20 ms). With DATABASE_URL (a role that may
 * create databases and roles) that server is used instead.
 */
export async function startTestServer(): Promise<{ adminUrl: string; stop(): Promise<void> }> {
  const given = process.env.DATABASE_URL;
  const dataDir = given ? undefined : mkdtempSync(join(tmpdir(), 'chancery-test-'));
  const server = dataDir ? await startPostgres({ dataDir, fsync: false, settings: { max_connections: '400' } }) : undefined;
  const stop = async () => {
    await server?.stop();
    if (dataDir) rmSync(dataDir, { recursive: true, force: true });
  };
  const adminUrl = given ?? server!.adminUrl;
  try {
    await makeTemplate(adminUrl);
  } catch (error) {
    await stop();
    throw error;
  }
  return { adminUrl, stop };
}

async function makeTemplate(adminUrl: string): Promise<void> {
  const admin = new pg.Client({ connectionString: adminUrl });
  await admin.connect();
  for (const role of ['chancery_owner', 'chancery_app']) {
    const found = await admin.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [role]);
    await admin.query(`${found.rowCount ? 'ALTER' : 'CREATE'} ROLE ${role} LOGIN PASSWORD 'test'`);
  }
  await admin.query(`DROP DATABASE IF EXISTS ${TEMPLATE} WITH (FORCE)`);
  await admin.query(`CREATE DATABASE ${TEMPLATE} OWNER chancery_owner`);
  await admin.end();
  const owner = new URL(adminUrl);
  owner.username = 'chancery_owner';
  owner.password = 'test';
  owner.pathname = `/${TEMPLATE}`;
  await migrate(owner.href);
}

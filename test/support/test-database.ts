import { randomBytes } from 'node:crypto';
import pg from 'pg';

import { TEMPLATE } from './test-server.js';

export interface TestDatabase {
  /** The application's role. */
  readonly url: string;
  /** The role that owns the tables. */
  readonly ownerUrl: string;
  /** The superuser, for tests that break things: pg_terminate_backend and the like. */
  readonly adminUrl: string;
  drop(): Promise<void>;
}

/** A migrated database of the test file's own. Call `drop` in afterAll: it ends what is still connected. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const adminUrl = process.env.CHANCERY_TEST_ADMIN_URL;
  if (!adminUrl) throw new Error('no test server: run through jest, in a project with the int set-up');
  const name = `test_${randomBytes(6).toString('hex')}`;
  await asAdmin(adminUrl, `CREATE DATABASE ${name} TEMPLATE ${TEMPLATE} OWNER chancery_owner`);
  const url = (user?: string) => {
    const result = new URL(adminUrl);
    result.pathname = `/${name}`;
    if (user) {
      result.username = user;
      result.password = 'test';
    }
    return result.href;
  };
  return {
    url: url('chancery_app'),
    ownerUrl: url('chancery_owner'),
    adminUrl: url(),
    drop: () => asAdmin(adminUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`),
  };
}

async function asAdmin(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined); // the statement's own rejection is the report
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';

import { migrate } from '#platform/database/migrator.js';
import { startPostgres } from '#platform/postgres/embedded-postgres.js';

import { choosePostgres, type PostgresChoice } from './choose-postgres.js';
import { engineAnswers } from './docker-engine.js';

export const TEMPLATE = 'chancery_template';

export interface TestServer {
  /** A superuser, or a role that may create databases and roles. */
  readonly adminUrl: string;
  stop(): Promise<void>;
}

/** Many test files at once, each with its pools. */
const MAX_CONNECTIONS = '400';

/**
 * One Postgres for the run, one migrated template database in it: each test file clones the template (20 ms). Which one: see choose-postgres.ts.
 */
export async function startTestServer(): Promise<TestServer> {
  const server = await start(await choosePostgres(process.env, engineAnswers));
  try {
    await makeTemplate(server.adminUrl);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}

function start(choice: PostgresChoice): Promise<TestServer> {
  switch (choice.kind) {
    case 'url':
      return Promise.resolve({ adminUrl: choice.url, stop: () => Promise.resolve() });
    case 'container':
      return startContainer();
    case 'embedded':
      return startEmbedded();
  }
}

async function startEmbedded(): Promise<TestServer> {
  const dataDir = mkdtempSync(join(tmpdir(), 'chancery-test-'));
  const remove = () => rmSync(dataDir, { recursive: true, force: true });
  try {
    const server = await startPostgres({ dataDir, fsync: false, settings: { max_connections: MAX_CONNECTIONS } });
    return { adminUrl: server.adminUrl, stop: () => server.stop().finally(remove) };
  } catch (error) {
    remove();
    throw error;
  }
}

/** The official image with the embedded one's settings. Loaded here only: the library costs half a second, and needs an engine. */
async function startContainer(): Promise<TestServer> {
  const { PostgreSqlContainer } = await import('@testcontainers/postgresql');
  const settings = {
    max_connections: MAX_CONNECTIONS,
    fsync: 'off',
    synchronous_commit: 'off',
    full_page_writes: 'off',
    jit: 'off',
    timezone: 'UTC',
  };
  const container = await new PostgreSqlContainer('postgres:18')
    .withUsername('postgres')
    .withPassword('test')
    .withDatabase('postgres')
    .withEnvironment({ POSTGRES_INITDB_ARGS: '--encoding=UTF8 --locale=C' })
    .withCommand(['postgres', ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])])
    .start()
    .catch((cause: unknown) => {
      throw new Error('postgres:18 did not start in a container; CHANCERY_TEST_POSTGRES=embedded needs none.', { cause });
    });
  return {
    adminUrl: container.getConnectionUri(),
    async stop() {
      await container.stop();
    },
  };
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

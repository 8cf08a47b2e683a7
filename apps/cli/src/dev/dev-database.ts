import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import pg from 'pg';

import type { DevConfig } from '#platform/config/dev-config.js';
import { migrate } from '#platform/database/migrator.js';
import { DomainError } from '#platform/kernel/errors.js';
import { type EmbeddedPostgres, startPostgres } from '#platform/postgres/embedded-postgres.js';
import { runningPostmaster, stopPostmaster } from '#platform/postgres/postmaster.js';

import type { DataFolder } from './data-folder.js';
import { DevError } from './dev-error.js';

/** The database of a run. `postgres` is undefined when DATABASE_URL names one that is not ours to start or stop. */
export interface DevDatabase {
  readonly url: string;
  readonly ownerUrl: string;
  readonly postgres: EmbeddedPostgres | undefined;
}

/** Starts the embedded Postgres, preferably on the port it had, or takes the one that DATABASE_URL names; then migrates. */
export async function openDevDatabase(
  config: DevConfig,
  folder: DataFolder,
  port: number | undefined,
): Promise<DevDatabase & { applied: number }> {
  const database = config.databaseUrl === undefined ? await startEmbedded(folder, port) : external(config);
  try {
    const { applied } = await migrate(database.ownerUrl);
    return { ...database, applied: applied.length };
  } catch (error) {
    await database.postgres?.stop();
    throw migrationFailure(error, database.postgres !== undefined);
  }
}

/** @throws DevError `postgres_failed` with Postgres' own words. */
export async function startEmbedded(folder: DataFolder, port: number | undefined): Promise<DevDatabase> {
  try {
    const postgres = await startPostgres({ dataDir: folder.postgres, ...(port === undefined ? {} : { port }) });
    return { url: postgres.url, ownerUrl: postgres.ownerUrl, postgres };
  } catch (error) {
    // The port it had may be somebody else's by now, or it runs already on another: any will do.
    const elsewhere =
      error instanceof DomainError && (error.code === 'postgres_already_running' || /could not bind|TCP\/IP sockets/.test(error.message));
    if (elsewhere && port !== undefined) return startEmbedded(folder, undefined);
    throw new DevError(
      'postgres_failed',
      (error as Error).message,
      `Read ${folder.postgres}/postgres.log; the data is untouched. A Postgres of your own can be named in DATABASE_URL.`,
      { cause: error },
    );
  }
}

/** Ends a Postgres that an earlier run left in the folder, for --fresh. */
export async function stopLeftPostgres(folder: DataFolder): Promise<void> {
  for (const data of [join(folder.postgres, 'data'), join(folder.postgres, 'postgres', 'data')]) {
    const running = runningPostmaster(data);
    if (running !== undefined) await stopPostmaster(running.pid);
  }
}

/**
 * The demo service's own database, beside Chancery's: made at the first start, and its password set to the remembered one at each.
 * With a Postgres of the user's own, usersvc uses a schema in the database that was named.
 */
export async function openUsersvcDatabase(
  database: DevDatabase,
  remembered: string | undefined,
): Promise<{ url: string; password: string }> {
  const password = remembered ?? randomBytes(24).toString('base64url');
  if (database.postgres === undefined) return { url: database.ownerUrl, password };
  const admin = new pg.Client({ connectionString: database.postgres.adminUrl, connectionTimeoutMillis: 10_000 });
  await admin.connect();
  try {
    const role = await admin.query("SELECT 1 FROM pg_roles WHERE rolname = 'usersvc'");
    await admin.query(`${role.rowCount ? 'ALTER' : 'CREATE'} ROLE usersvc LOGIN PASSWORD ${admin.escapeLiteral(password)}`);
    const made = await admin.query("SELECT 1 FROM pg_database WHERE datname = 'usersvc'");
    if (!made.rowCount) await admin.query('CREATE DATABASE usersvc OWNER usersvc');
  } finally {
    await admin.end();
  }
  return { url: `postgresql://usersvc:${password}@127.0.0.1:${database.postgres.port}/usersvc`, password };
}

function external(config: DevConfig): DevDatabase {
  const url = config.databaseUrl as string;
  return { url, ownerUrl: config.ownerDatabaseUrl ?? url, postgres: undefined };
}

function migrationFailure(error: unknown, embedded: boolean): Error {
  const nextStep =
    error instanceof DomainError && error.code === 'database_newer'
      ? 'Run the newer checkout on this data, or start another with bin/dev --data DIR.'
      : embedded
        ? 'The data is as it was. To forget it and begin anew: bin/dev --fresh'
        : 'See that DATABASE_URL (or CHANCERY_OWNER_DATABASE_URL) names a database whose role may create tables.';
  return new DevError('migration_failed', `The database could not be brought to this release: ${(error as Error).message}`, nextStep, {
    cause: error,
  });
}

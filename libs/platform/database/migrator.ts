import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import pg from 'pg';

import { sha256Hex } from '#platform/kernel/digest.js';
import { DomainError } from '#platform/kernel/errors.js';

import type { DatabaseLog } from './database.js';

/** One file `migrations/NNNNNN.sql`. Forward only: once applied anywhere it is never edited, which its checksum enforces. */
interface Migration {
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

const LOCK_KEY = 7_232_113_590; // any number of our own: held by the process that migrates, the others wait
const LOCK_DEADLINE_MS = 120_000;

/**
 * Brings the database to the newest schema, each file in one transaction. Run it as the role that owns the tables; several processes may run it at
 * once. Does nothing when there is nothing to do.
 * @returns the names of the files applied by this call.
 * @throws DomainError `migration_changed`, `migration_out_of_order`, `database_newer` or `migration_failed` (with the file and the reason).
 */
export async function migrate(url: string, options: { log?: DatabaseLog; folder?: string } = {}): Promise<{ applied: string[] }> {
  const migrations = readMigrations(options.folder ?? findMigrationsFolder());
  const client = new pg.Client({
    connectionString: url,
    application_name: 'chancery-migrate',
    connectionTimeoutMillis: 10_000,
    options: '-c search_path=chancery,public',
  });
  client.on('error', () => undefined); // the query in flight is rejected with it
  await client.connect();
  try {
    await client.query(`SET lock_timeout = ${LOCK_DEADLINE_MS}`);
    await client.query('SELECT pg_advisory_lock($1)', [LOCK_KEY]);
    await client.query('SET lock_timeout = 10000');
    await client.query('CREATE SCHEMA IF NOT EXISTS chancery');
    await client.query(
      'CREATE TABLE IF NOT EXISTS chancery.migration (name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())',
    );
    const { rows } = await client.query<{ name: string; checksum: string }>('SELECT name, checksum FROM chancery.migration ORDER BY name');
    const pending = findPending(migrations, rows);
    for (const migration of pending) {
      await apply(client, migration);
      options.log?.info({ migration: migration.name }, 'migrated');
    }
    return { applied: pending.map(({ name }) => name) };
  } finally {
    await client.end(); // which frees the lock as well
  }
}

/** The migrations still to run, after a check that the database's history is a prefix of ours. */
export function findPending(migrations: readonly Migration[], applied: readonly { name: string; checksum: string }[]): Migration[] {
  const byName = new Map(migrations.map((migration) => [migration.name, migration]));
  for (const { name, checksum } of applied) {
    const known = byName.get(name);
    if (!known)
      throw new DomainError(
        'unavailable',
        'database_newer',
        `The database has the migration ${name}, which this release does not know: run the newer release.`,
      );
    if (known.checksum !== checksum) {
      throw new DomainError(
        'unavailable',
        'migration_changed',
        `${name} is not the file that was applied to this database: undo the edit and put the change into a new file.`,
      );
    }
  }
  const last = applied.at(-1)?.name ?? '';
  const done = new Set(applied.map(({ name }) => name));
  const pending = migrations.filter(({ name }) => !done.has(name));
  const late = pending.find(({ name }) => name < last);
  if (late)
    throw new DomainError(
      'unavailable',
      'migration_out_of_order',
      `${late.name} comes before ${last}, which was applied already: give it the next free number.`,
    );
  return pending;
}

async function apply(client: pg.Client, migration: Migration): Promise<void> {
  try {
    await client.query('BEGIN');
    await client.query(migration.sql);
    await client.query('INSERT INTO chancery.migration (name, checksum) VALUES ($1, $2)', [migration.name, migration.checksum]);
    await client.query('COMMIT');
  } catch (cause) {
    await client.query('ROLLBACK').catch(() => undefined); // the connection may be what failed; the cause says so
    const { message, hint } = cause as { message: string; hint?: string };
    throw new DomainError('unavailable', 'migration_failed', `${migration.name}: ${message}${hint ? ` (${hint})` : ''}`, { cause });
  }
}

export function readMigrations(folder: string): Migration[] {
  return readdirSync(folder)
    .filter((file) => /^\d{6}\.sql$/.test(file))
    .sort()
    .map((name) => {
      const sql = readFileSync(join(folder, name), 'utf8');
      return { name, sql, checksum: sha256Hex(sql) };
    });
}

/** `migrations/` beside package.json, from the sources as from the build. */
export function findMigrationsFolder(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json')) && existsSync(join(folder, 'migrations'))) return join(folder, 'migrations');
    if (folder === dirname(folder)) throw new Error(`no migrations folder above ${import.meta.dirname}`);
  }
}

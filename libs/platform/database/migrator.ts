import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

import { sha256Hex } from '#platform/kernel/digest.js';
import { DomainError } from '#platform/kernel/errors.js';

import { type DatabaseLog, type Db, sqlQuery } from './database.js';

/** One file `migrations/NNNNNN.sql`. Forward only: once applied anywhere it is never edited, which its checksum enforces. */
interface Migration {
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
  /** The migration that a release must know to go on with the schema after this one; null when every older release can. See its first line. */
  readonly needs: string | null;
}

/** A migration as the database has it. */
type AppliedMigration = Pick<Migration, 'name' | 'checksum' | 'needs'>;

const LOCK_KEY = 7_232_113_590; // any number of our own: held by the process that migrates, the others wait
const LOCK_DEADLINE_MS = 120_000;
/**
 * A migration that waits for a table's lock holds up everybody who comes after it. So it waits for less than they wait themselves (2 s, see
 * SESSION_LIMITS), lets them by, and tries again.
 */
const TABLE_LOCK_MS = 1_000;
const TRY_AGAIN_MS = 500;

/**
 * Brings the database to the newest schema, each file in one transaction, while the processes of the release before work on it. Run it as the role that
 * owns the tables; several processes may run it at once. Does nothing when there is nothing to do.
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
    await client.query(`SET lock_timeout = ${TABLE_LOCK_MS}`);
    await client.query('CREATE SCHEMA IF NOT EXISTS chancery');
    await client.query(
      'CREATE TABLE IF NOT EXISTS chancery.migration (name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())',
    );
    const { rows } = await client.query<AppliedMigration>(APPLIED);
    const pending = findPending(migrations, rows);
    for (const migration of pending) {
      await applyWhenFree(client, migration, options.log);
      options.log?.info({ migration: migration.name }, 'migrated');
    }
    return { applied: pending.map(({ name }) => name) };
  } finally {
    await client.end(); // which frees the lock as well
  }
}

/** What was applied, also where the table has no column `needs` yet. */
const APPLIED = `SELECT name, checksum, to_jsonb(m) ->> 'needs' AS needs FROM chancery.migration m ORDER BY name`;

/** Those of this release; read once, since they are part of it. */
let own: readonly Migration[] | undefined;

/**
 * Can a process of this release work on the database? It can when everything that this release knows was applied, and what a newer release has added since
 * leaves it alone: releases run side by side during an upgrade, in either order of their start.
 * @throws DomainError as {@link migrate}; `migration_missing` when it must be migrated first.
 */
export async function requireSchema(db: Db): Promise<void> {
  own ??= readMigrations(findMigrationsFolder());
  const pending = findPending(own, await sqlQuery<AppliedMigration>(db, APPLIED, []));
  if (pending.length > 0)
    throw new DomainError('unavailable', 'migration_missing', `not applied: ${pending.map(({ name }) => name).join(', ')}`);
}

/** The migrations still to run, after a check that the database's history goes with ours. */
export function findPending(migrations: readonly Migration[], applied: readonly AppliedMigration[]): Migration[] {
  const byName = new Map(migrations.map((migration) => [migration.name, migration]));
  const newest = migrations.at(-1)?.name ?? '';
  for (const { name, checksum, needs } of applied) {
    const known = byName.get(name);
    if (!known) {
      if (name > newest && (needs === null || byName.has(needs))) continue;
      throw new DomainError(
        'unavailable',
        'database_newer',
        `The database has the migration ${name}, which this release does not know and cannot work with: run the newer release.`,
      );
    }
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

/** Tries again while somebody holds what the migration must lock. */
async function applyWhenFree(client: pg.Client, migration: Migration, log: DatabaseLog | undefined): Promise<void> {
  for (const end = performance.now() + LOCK_DEADLINE_MS; ; ) {
    try {
      await apply(client, migration);
      return;
    } catch (error) {
      if ((error as { cause?: { code?: string } }).cause?.code !== LOCK_NOT_AVAILABLE || performance.now() > end) throw error;
      log?.warn({ migration: migration.name }, 'a table that the migration changes is in use: it is tried again');
      await sleep(TRY_AGAIN_MS);
    }
  }
}

const LOCK_NOT_AVAILABLE = '55P03';

async function apply(client: pg.Client, { name, sql, checksum, needs }: Migration): Promise<void> {
  try {
    await client.query('BEGIN');
    await client.query(sql);
    await client.query('INSERT INTO chancery.migration (name, checksum) VALUES ($1, $2)', [name, checksum]);
    if (needs !== null) await client.query('UPDATE chancery.migration SET needs = $2 WHERE name = $1', [name, needs]);
    await client.query('COMMIT');
  } catch (cause) {
    await client.query('ROLLBACK').catch(() => undefined); // the connection may be what failed; the cause says so
    const { message, hint } = cause as { message: string; hint?: string };
    throw new DomainError('unavailable', 'migration_failed', `${name}: ${message}${hint ? ` (${hint})` : ''}`, { cause });
  }
}

/** The files of a folder, in their order. A first line `-- needs NNNNNN` is read; see `docs/decisions/017-releases-side-by-side.md`. */
export function readMigrations(folder: string): Migration[] {
  return readdirSync(folder)
    .filter((file) => /^\d{6}\.sql$/.test(file))
    .sort()
    .map((name) => {
      const sql = readFileSync(join(folder, name), 'utf8');
      const needs = /^-- needs (\d{6})$/m.exec(sql.split('\n', 1)[0] ?? '')?.[1];
      return { name, sql, checksum: sha256Hex(sql), needs: needs === undefined ? null : `${needs}.sql` };
    });
}

/** `migrations/` beside package.json, from the sources as from the build. */
export function findMigrationsFolder(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json')) && existsSync(join(folder, 'migrations'))) return join(folder, 'migrations');
    if (folder === dirname(folder)) throw new Error(`no migrations folder above ${import.meta.dirname}`);
  }
}

import { createPostgresBackend, runMigrations } from 'bullmq';
import pg from 'pg';

import { DomainError } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';
import type { QueueConnection } from './queue-connection.js';

/** The schema that BullMQ uses with a pool of ours; a migration of the product creates it and lets the application role build in it. */
const schema = 'bullmq';

/**
 * The queue in Postgres. The pool is ours because the library cannot load `pg` from an ES module, and because one pool for
 * queue and worker keeps the number of connections small: four for queries, two that listen.
 */
export async function openPostgresConnection(databaseUrl: string, log: Log): Promise<QueueConnection> {
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    max: 6,
    keepAlive: true,
    connectionTimeoutMillis: 5_000,
    application_name: 'chancery-queue',
    options: `-c search_path=${schema}`,
  });
  pool.on('error', (err) => log.warn({ err }, 'the queue lost a database connection'));
  // A connection in use that is cut off: the query that it carried is rejected, which is the report; unheard, the event would end the process.
  pool.on('connect', (client) => client.on('error', () => undefined));
  try {
    await migrate(pool);
  } catch (error) {
    await pool.end();
    throw new DomainError('unavailable', 'queue_unavailable', 'The queue cannot be opened in Postgres.', { cause: error });
  }
  return { factory: createPostgresBackend as never, queue: pool as never, worker: pool as never, close: () => pool.end() };
}

/**
 * Brings the library's tables up to its version. The library begins with CREATE SCHEMA, which Postgres refuses to a role
 * without CREATE on the database even when the schema is there, so that one statement is left out.
 */
async function migrate(pool: pg.Pool): Promise<void> {
  const client = await pool.connect();
  try {
    await runMigrations(
      {
        query: (text: string, values?: unknown[]) =>
          text.startsWith('CREATE SCHEMA') ? Promise.resolve({ rows: [], rowCount: 0 }) : client.query(text, values as unknown[]),
      } as never,
      schema,
    );
  } finally {
    client.release();
  }
}

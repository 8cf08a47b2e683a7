import { CompiledQuery, Kysely, PostgresDialect, type Transaction } from 'kysely';
import pg from 'pg';

/** A handle without tables: a feature adds its own with `db.withTables<MyTables>()`. */
type NoTables = Record<never, never>;
export type Db = Kysely<NoTables>;
export type Tx = Transaction<NoTables>;

/** What this room needs of a log; a pino logger is one. */
export interface DatabaseLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface Database {
  readonly db: Db;
  readonly pool: pg.Pool;
  readonly url: string;
  close(): Promise<void>;
}

/** Limits of every session, in milliseconds: no statement, no wait for a lock and no forgotten transaction holds up the others for longer. */
export const SESSION_LIMITS = { lock_timeout: 2_000, statement_timeout: 15_000, idle_in_transaction_session_timeout: 5_000 } as const;

const types: pg.CustomTypesConfig = {
  // Versions and counts: gapless numbers that grow by at most some thousands a second stay far below 2^53.
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === pg.types.builtins.INT8 ? Number : pg.types.getTypeParser(oid, format as 'text')) as pg.CustomTypesConfig['getTypeParser'],
};

/** How each connection of ours is opened. `statementTimeoutMs`: for work that is long by its nature, instead of the limit of every session. */
export function connectionOptions(url: string, applicationName: string, statementTimeoutMs?: number): pg.ClientConfig {
  const limits = { ...SESSION_LIMITS, ...(statementTimeoutMs === undefined ? {} : { statement_timeout: statementTimeoutMs }) };
  return {
    connectionString: url,
    application_name: applicationName,
    options: `-c search_path=chancery,public ${Object.entries(limits)
      .map(([name, value]) => `-c ${name}=${value}`)
      .join(' ')}`,
    connectionTimeoutMillis: 5_000,
    query_timeout: limits.statement_timeout + 5_000, // the server's own statement_timeout speaks first unless the network or the server is dead
    keepAlive: true,
    types,
  };
}

/**
 * Opens a pool. It connects when first used and never throws for a database that is down: queries do, and work again
 * when it is back. int8 columns answer numbers, timestamptz answers Date.
 */
export function openDatabase(options: {
  url: string;
  applicationName: string;
  maxConnections?: number;
  statementTimeoutMs?: number;
  log?: DatabaseLog;
}): Database {
  const pool = new pg.Pool({
    ...connectionOptions(options.url, options.applicationName, options.statementTimeoutMs),
    max: options.maxConnections ?? 10,
    idleTimeoutMillis: 60_000,
  });
  // An idle connection that is cut off reports here; unheard, the event would end the process. The pool replaces it.
  pool.on('error', (err) => options.log?.warn({ err }, 'an idle database connection was lost'));
  // The same for a connection in use: the query that it carried is rejected, which is the report.
  pool.on('connect', (client) => client.on('error', () => undefined));
  pool.on('connect', sendNames);
  const db: Db = new Kysely<NoTables>({ dialect: new PostgresDialect({ pool }) });
  pools.set(db, pool);
  const close = async () => {
    await db.destroy();
    if (!pool.ending) await pool.end(); // Kysely ends only a pool that went through its own hands; one that was asked directly would keep the process alive
  };
  return { db, pool, url: options.url, close };
}

const names = new Map<string, string>();

/**
 * Gives a statement a name, under which each connection parses and plans it once: for what is asked for every change. A pooler between us and the server
 * must keep named statements apart, as it always had to for the append.
 * @returns the text, to be asked as any other.
 */
export function named(name: string, text: string): string {
  names.set(text, name);
  return text;
}

/** Lets a connection send the names of the statements that have one. */
function sendNames(client: pg.PoolClient): void {
  const query = client.query.bind(client) as (...args: unknown[]) => unknown;
  const send = (text: unknown, ...rest: unknown[]) => {
    const name = typeof text === 'string' ? names.get(text) : undefined;
    return name === undefined ? query(text, ...rest) : query({ name, text }, ...rest);
  };
  client.query = send as typeof client.query;
}

/** The pool of each database: what is not in a transaction needs nothing that Kysely does around a statement. */
const pools = new WeakMap<Db | Tx, pg.Pool>();

/** Runs one statement of SQL text with `$1`-style values, on a database or inside a transaction. */
export async function sqlQuery<R>(db: Db | Tx, text: string, values: readonly unknown[]): Promise<R[]> {
  const pool = pools.get(db);
  if (pool !== undefined) return (await pool.query(text, [...values])).rows as R[];
  const result = await db.executeQuery<R>(CompiledQuery.raw(text, [...values]));
  return result.rows;
}

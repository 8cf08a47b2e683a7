import pg from 'pg';

import { copyIn } from '#platform/eventstore/copy-in.js';

type Row = readonly (string | null)[];

/** The rows of one table, as COPY wants them. */
interface TableRows {
  readonly table: string;
  readonly rows: readonly Row[];
}

/** What the newest version of a stream wrote, table by table: which rows are its own. The head of the stream and the notification are left out. */
const written: readonly { readonly table: string; readonly where: string }[] = [
  { table: 'event', where: 'stream = $1 AND version = $2' },
  { table: 'version', where: 'stream = $1 AND version = $2' },
  { table: 'subject', where: 'stream = $1 AND from_version = $2' },
  { table: 'claim', where: 'stream = $1 AND subject IN (SELECT subject FROM chancery.event WHERE stream = $1 AND version = $2)' },
];

/**
 * The limits of a durable import: COPY of the rows that it wrote into empty tables like theirs on the same server, in one commit. Once of its events alone,
 * which is the least that could be called a record; and once of all the rows that the schema has of it (the current states, which are read without the log, and
 * the claims, which keep two mappings from matching alike).
 */
export class CopyLimit {
  readonly #pool: pg.Pool;
  readonly #client: pg.PoolClient;

  private constructor(pool: pg.Pool, client: pg.PoolClient) {
    this.#pool = pool;
    this.#client = client;
  }

  /** @param ownerUrl Of the role that owns the product's tables. */
  static async open(ownerUrl: string): Promise<CopyLimit> {
    const pool = new pg.Pool({ connectionString: ownerUrl, max: 1 });
    return new CopyLimit(pool, await pool.connect());
  }

  /** Every row that the newest version of a stream wrote; the events come first. */
  async read(stream: string): Promise<TableRows[]> {
    const tables: TableRows[] = [];
    for (const { table, where } of written) {
      const columns = await this.#client.query<{ name: string }>(
        "SELECT attname AS name FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
        [`chancery.${table}`],
      );
      const { rows } = await this.#client.query<string[]>({
        text: `SELECT ${columns.rows.map(({ name }) => `"${name}"::text`).join(', ')} FROM chancery.${table}
               WHERE ${where.replace('$2', '(SELECT version FROM chancery.stream WHERE stream = $1)')}`,
        values: [stream],
        rowMode: 'array',
      });
      tables.push({ table, rows });
    }
    return tables;
  }

  /** Milliseconds to copy the rows into empty tables with the columns, constraints and indexes of the real ones, in one commit. */
  async measure(tables: readonly TableRows[]): Promise<number> {
    for (const { table } of tables) {
      await this.#client.query(`DROP TABLE IF EXISTS bench_${table}`);
      await this.#client.query(`CREATE TABLE bench_${table} (LIKE chancery.${table} INCLUDING ALL)`);
    }
    const began = performance.now();
    await this.#client.query('BEGIN');
    for (const { table, rows } of tables) await copyIn(this.#client, `COPY bench_${table} FROM STDIN`, rows);
    await this.#client.query('COMMIT');
    const ms = performance.now() - began;
    for (const { table, rows } of tables) {
      const { rows: counted } = await this.#client.query<{ n: number }>(`SELECT count(*)::int AS n FROM bench_${table}`);
      if (counted[0]?.n !== rows.length) throw new Error(`COPY left ${counted[0]?.n} of ${rows.length} rows in ${table}`);
      await this.#client.query(`DROP TABLE bench_${table}`);
    }
    return ms;
  }

  async close(): Promise<void> {
    this.#client.release();
    await this.#pool.end();
  }
}

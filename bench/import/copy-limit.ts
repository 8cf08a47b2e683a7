import pg from 'pg';

import { copyIn } from '#platform/eventstore/copy-in.js';

type Row = readonly (string | null)[];

/** The limit of a durable import: the very events that it recorded, by COPY into a table like theirs on the same server, in one commit. */
export class CopyLimit {
  readonly #pool: pg.Pool;
  readonly #client: pg.PoolClient;
  readonly #columns: readonly string[];

  private constructor(pool: pg.Pool, client: pg.PoolClient, columns: readonly string[]) {
    this.#pool = pool;
    this.#client = client;
    this.#columns = columns;
  }

  /** @param ownerUrl Of the role that owns the product's tables. */
  static async open(ownerUrl: string): Promise<CopyLimit> {
    const pool = new pg.Pool({ connectionString: ownerUrl, max: 1 });
    const client = await pool.connect();
    const { rows } = await client.query<{ name: string }>(
      "SELECT attname AS name FROM pg_attribute WHERE attrelid = 'chancery.event'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
    );
    return new CopyLimit(
      pool,
      client,
      rows.map(({ name }) => name),
    );
  }

  /** The events of the newest version of a stream, as COPY wants them. */
  async readEvents(stream: string): Promise<Row[]> {
    const columns = this.#columns.map((name) => `"${name}"::text`).join(', ');
    const { rows } = await this.#client.query<string[]>({
      text: `SELECT ${columns} FROM chancery.event e WHERE stream = $1 AND version = (SELECT max(version) FROM chancery.event WHERE stream = $1)`,
      values: [stream],
      rowMode: 'array',
    });
    return rows;
  }

  /** Milliseconds to copy the rows into an empty table with the columns, constraints and indexes of the real one. */
  async measure(rows: readonly Row[]): Promise<number> {
    await this.#client.query('DROP TABLE IF EXISTS bench_event');
    await this.#client.query('CREATE TABLE bench_event (LIKE chancery.event INCLUDING ALL)');
    const began = performance.now();
    await copyIn(this.#client, 'COPY bench_event FROM STDIN', rows);
    const ms = performance.now() - began;
    const { rows: counted } = await this.#client.query<{ n: number }>('SELECT count(*)::int AS n FROM bench_event');
    if (counted[0]?.n !== rows.length) throw new Error(`COPY left ${counted[0]?.n} of ${rows.length} rows`);
    await this.#client.query('DROP TABLE bench_event');
    return ms;
  }

  async close(): Promise<void> {
    this.#client.release();
    await this.#pool.end();
  }
}

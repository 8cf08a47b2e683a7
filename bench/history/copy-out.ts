import type pg from 'pg';

/** Runs `COPY ... TO STDOUT` and throws the rows away. @returns how many there were: the cost of getting everything out of the server once. */
export async function copyOut(pool: pg.Pool, statement: string): Promise<number> {
  const client = await pool.connect();
  try {
    await client.query('SET statement_timeout = 0');
    return await new Promise<number>((resolve, reject) => {
      let rows = 0;
      let failed: unknown;
      client.query({
        submit: (wire: { query(text: string): void }) => wire.query(statement),
        handleCopyData: () => {
          rows += 1; // the server sends one message for each row
        },
        handleError: (error: unknown) => {
          failed = error;
          reject(error);
        },
        handleReadyForQuery: () => (failed === undefined ? resolve(rows) : undefined),
        handleCommandComplete: () => undefined,
        handleRowDescription: () => undefined,
        handleDataRow: () => undefined,
        handleEmptyQuery: () => undefined,
        handlePortalSuspended: () => undefined,
      } as unknown as pg.Submittable);
    });
  } finally {
    client.release(true); // its session's limits were lifted
  }
}

import pg from 'pg';

/** Runs `COPY ... TO STDOUT` and throws the rows away. @returns how many there were: the cost of getting everything out of the server once. */
export async function copyOut(url: string, statement: string): Promise<number> {
  const client = new pg.Client({ connectionString: url }); // without the limits of the product's own sessions
  await client.connect();
  try {
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
    await client.end();
  }
}

import { readCliConfig } from '#platform/config/cli-config.js';
import type { Database } from '#platform/database/database.js';

import { UsageError } from './usage-error.js';

/** Runs `use` on the database that the environment names, as its owner where that is known, and closes it. @throws UsageError when none is named. */
export async function withDatabase<T>(use: (database: Database) => Promise<T>): Promise<T> {
  const url = databaseUrl();
  const { openDatabase } = await import('#platform/database/database.js'); // only here, so that the other commands start quickly
  const database = openDatabase({ url, applicationName: 'chancery-cli', maxConnections: 2 });
  try {
    return await use(database);
  } finally {
    await database.close();
  }
}

/** CHANCERY_OWNER_DATABASE_URL, else DATABASE_URL. */
export function databaseUrl(): string {
  const config = readCliConfig();
  const url = config.ownerDatabaseUrl ?? config.databaseUrl;
  if (url === undefined) {
    throw new UsageError(
      'This works on the database itself, and neither CHANCERY_OWNER_DATABASE_URL nor DATABASE_URL is set. For a running bin/dev: DATABASE_URL is the `database` of its --json ready line.',
    );
  }
  return url;
}

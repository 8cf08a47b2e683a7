import pg from 'pg';

export interface User {
  readonly name: string;
  readonly fullname: string;
}

/** The users of the demo, in a table of its own schema. */
export interface Users {
  /** Makes the schema where it is missing and asks the database for a row; throws when it cannot. */
  check(): Promise<void>;
  list(): Promise<User[]>;
  find(name: string): Promise<User | undefined>;
  put(user: User): Promise<void>;
  /** False when there was no such user. */
  remove(name: string): Promise<boolean>;
  close(): Promise<void>;
}

const SCHEMA = `CREATE SCHEMA IF NOT EXISTS usersvc;
CREATE TABLE IF NOT EXISTS usersvc.users (name text PRIMARY KEY, fullname text NOT NULL);`;

export function openUsers(databaseUrl: string): Users {
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    max: 4,
    connectionTimeoutMillis: 2_000,
    application_name: 'usersvc',
    query_timeout: 5_000,
  });
  pool.on('error', () => undefined); // an idle connection was lost; the next query opens another, and reports its own failure
  let prepared = false;
  const query = async (text: string, values: unknown[] = []) => {
    if (!prepared) await pool.query(SCHEMA);
    prepared = true;
    return pool.query(text, values);
  };
  return {
    check: async () => void (await query('SELECT 1 FROM usersvc.users LIMIT 1')),
    list: async () => (await query('SELECT name, fullname FROM usersvc.users ORDER BY name LIMIT 1000')).rows as User[],
    find: async (name) => (await query('SELECT name, fullname FROM usersvc.users WHERE name = $1', [name])).rows[0] as User | undefined,
    put: async ({ name, fullname }) => {
      await query(
        'INSERT INTO usersvc.users (name, fullname) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET fullname = excluded.fullname',
        [name, fullname],
      );
    },
    remove: async (name) => (await query('DELETE FROM usersvc.users WHERE name = $1', [name])).rowCount === 1,
    close: () => pool.end(),
  };
}

import { type Db, sqlQuery } from '#platform/database/database.js';

/** What would let the application change what was recorded. */
export interface LogRights {
  /** The application's role is, or may become, the one that owns the tables. */
  readonly ownsTables: boolean;
  /** Tables of the log that it may write beside the append functions. */
  readonly writable: readonly string[];
  /** Tables of which a guarding trigger is switched off or missing. */
  readonly unguarded: readonly string[];
}

const GUARDED = ['version', 'event', 'subject_history', 'stream', 'subject'];

/** Reads what the role of this connection may do to the log. */
export async function readLogRights(db: Db): Promise<LogRights> {
  const rows = await sqlQuery<{ table: string; owns: boolean; writes: boolean; guarded: boolean }>(
    db,
    `SELECT c.relname AS "table", pg_has_role(current_user, c.relowner, 'MEMBER') AS owns,
       has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') AS writes,
       EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')) AS guarded
     FROM pg_class c WHERE c.relnamespace = 'chancery'::regnamespace
       AND c.relname IN ('version', 'event', 'subject_history', 'stream', 'subject', 'claim', 'reference') ORDER BY c.relname`,
    [],
  );
  return {
    ownsTables: rows.some(({ owns }) => owns),
    writable: rows.filter(({ writes }) => writes).map(({ table }) => table),
    unguarded: rows.filter(({ table, guarded }) => GUARDED.includes(table) && !guarded).map(({ table }) => table),
  };
}
